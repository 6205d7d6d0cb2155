import { createDecipheriv, type CipherGCMTypes, createSecretKey, type DecipherGCM, type KeyObject } from 'node:crypto'
import { countNonceUp, gcmAlgorithm, TAG_BYTES } from './gcm-packet.ts'
import { notePacketMemory } from './packet-memory.ts'
import type { PayloadHandler, Ssh2Decipher, Ssh2GcmDecipher } from './ssh2-protocol.ts'

const BLOCK_BYTES = 16
const MSG_CHANNEL_DATA = 94
/** Padding length, message number, channel, length of data. */
const DATA_HEAD_BYTES = 1 + 1 + 4 + 4

/** Data of a channel, in order, as pieces that were never joined. The receiver owns them. */
export type ChannelDataHandler = (channel: number, pieces: readonly Buffer[], bytes: number) => void

interface OpenerOptions {
  /** Longest packet that is taken, its length field not counted. */
  readonly packetBytesMax: number
  readonly onChannelData: ChannelDataHandler
  /** Whether the connection has ended meanwhile: nothing more is opened then. */
  readonly isOver: () => boolean
}

/**
 * Opens what GcmSealer seals. A packet's content is told only after its tag was verified. Throws where it does not
 * verify, or a length cannot be: the connection is then lost.
 */
export class GcmOpener implements Ssh2Decipher {
  inSeqno: number
  /** Plain bytes opened with this key. */
  openedBytes = 0
  _onPayload: PayloadHandler
  readonly #usual: PayloadHandler
  readonly #options: OpenerOptions
  readonly #algorithm: CipherGCMTypes
  readonly #key: KeyObject
  readonly #nonce: Buffer

  readonly #length = Buffer.alloc(4)
  #lengthFilled = 0
  #decipher: DecipherGCM | undefined
  /** Bytes of the packet that are still to come, and what came of it. */
  #missing = 0
  #pieces: Buffer[] = []
  readonly #tag = Buffer.alloc(TAG_BYTES)
  #tagFilled = 0

  constructor(replaced: Ssh2GcmDecipher, options: OpenerOptions) {
    this.inSeqno = replaced.inSeqno
    this._onPayload = replaced._onPayload
    this.#usual = replaced._onPayload
    this.#options = options
    this.#algorithm = gcmAlgorithm(replaced._decipherSSLName)
    this.#key = createSecretKey(replaced._decipherKey)
    this.#nonce = Buffer.from(replaced._decipherIV)
    replaced.free()
  }

  decrypt(data: Uint8Array, from: number, to: number): number | undefined {
    let at = from
    while (at < to) {
      if (this.#lengthFilled < 4) {
        at += this.#takeLength(data, at, to)
        continue
      }
      if (this.#missing > 0) {
        const taken = Math.min(this.#missing, to - at)
        // Protocol hands on what the socket gave; update() copies it anyway.
        this.#pieces.push(this.#begun().update(data.subarray(at, at + taken)))
        this.#missing -= taken
        at += taken
        continue
      }
      const taken = Math.min(TAG_BYTES - this.#tagFilled, to - at)
      this.#tag.set(data.subarray(at, at + taken), this.#tagFilled)
      this.#tagFilled += taken
      at += taken
      if (this.#tagFilled < TAG_BYTES) return undefined
      const next = this.#finish()
      if (next !== undefined) return next === false ? at : next
      if (this.#options.isOver()) return to
    }
    return undefined
  }

  free(): void {
    // Nothing to free: keys are collected with this object.
  }

  #takeLength(data: Uint8Array, from: number, to: number): number {
    const taken = Math.min(4 - this.#lengthFilled, to - from)
    this.#length.set(data.subarray(from, from + taken), this.#lengthFilled)
    this.#lengthFilled += taken
    if (this.#lengthFilled < 4) return taken
    const bytes = this.#length.readUInt32BE(0)
    if (bytes > this.#options.packetBytesMax || bytes < BLOCK_BYTES || bytes % BLOCK_BYTES !== 0) {
      throw new Error(`a packet of ${bytes} bytes`)
    }
    this.#missing = bytes
    this.#decipher = createDecipheriv(this.#algorithm, this.#key, this.#nonce, { authTagLength: TAG_BYTES })
    this.#decipher.setAAD(this.#length)
    return taken
  }

  #begun(): DecipherGCM {
    if (this.#decipher === undefined) throw new Error('no packet is open')
    return this.#decipher
  }

  /** Verifies and hands on one packet; returns what Protocol's handler returned. */
  #finish(): number | false | undefined {
    const decipher = this.#begun()
    decipher.setAuthTag(this.#tag)
    decipher.final()
    countNonceUp(this.#nonce)
    this.inSeqno = (this.inSeqno + 1) >>> 0
    const pieces = this.#pieces
    const bytes = this.#length.readUInt32BE(0)
    this.openedBytes += bytes
    notePacketMemory(bytes)
    this.#decipher = undefined
    this.#pieces = []
    this.#lengthFilled = 0
    this.#tagFilled = 0
    const first = pieces[0]
    if (first !== undefined && first.length >= DATA_HEAD_BYTES && first[1] === MSG_CHANNEL_DATA) {
      // While keys are exchanged Protocol has another handler, which refuses data.
      if (this._onPayload === this.#usual) return this.#handOnData(first, pieces, bytes)
    }
    const packet = pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces)
    const paddingBytes = packet.readUInt8(0)
    if (paddingBytes + 1 >= packet.length) throw new Error(`a packet of nothing but padding`)
    return this._onPayload(packet.subarray(1, packet.length - paddingBytes))
  }

  #handOnData(first: Buffer, pieces: Buffer[], bytes: number): undefined {
    const dataBytes = first.readUInt32BE(6)
    if (DATA_HEAD_BYTES + dataBytes + first.readUInt8(0) !== bytes)
      throw new Error('data of another length than its packet')
    const channel = first.readUInt32BE(2)
    const wanted: Buffer[] = []
    let left = dataBytes
    for (const [index, piece] of pieces.entries()) {
      const from = index === 0 ? DATA_HEAD_BYTES : 0
      const taken = Math.min(left, piece.length - from)
      if (taken > 0) wanted.push(piece.subarray(from, from + taken))
      left -= taken
    }
    this.#options.onChannelData(channel, wanted, dataBytes)
  }
}
