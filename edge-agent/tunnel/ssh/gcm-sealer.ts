import { createCipheriv, type CipherGCMTypes, createSecretKey, type KeyObject, randomFillSync } from 'node:crypto'
import { countNonceUp, gcmAlgorithm, TAG_BYTES } from './gcm-packet.ts'
import { notePacketMemory } from './packet-memory.ts'
import type { Ssh2Cipher, Ssh2GcmCipher } from './ssh2-protocol.ts'

const BLOCK_BYTES = 16
const PADDING_BYTES_MIN = 4
const MSG_CHANNEL_DATA = 94
/** Padding length, message number, channel, length of data. */
const DATA_HEAD_BYTES = 1 + 1 + 4 + 4
const EMPTY = Buffer.alloc(0)

/**
 * Packets sealed as `aes128-gcm@openssh.com` says (RFC 5647; OpenSSH PROTOCOL, 1.6): the same bytes as ssh2's own
 * cipher makes, whose key and nonce it takes over. Data of channels is sealed where it lies, without being copied into
 * a packet first, and leaves in one system call.
 */
export class GcmSealer implements Ssh2Cipher {
  outSeqno: number
  /** Plain bytes sealed with this key. */
  sealedBytes = 0
  readonly #algorithm: CipherGCMTypes
  readonly #key: KeyObject
  readonly #nonce: Buffer
  readonly #write: (pieces: readonly Uint8Array[]) => void
  readonly #padding = randomFillSync(Buffer.alloc(2 * BLOCK_BYTES))

  /** @param write gets the pieces of one packet, in order, and owns them */
  constructor(replaced: Ssh2GcmCipher, write: (pieces: readonly Uint8Array[]) => void) {
    this.outSeqno = replaced.outSeqno
    this.#algorithm = gcmAlgorithm(replaced._encSSLName)
    this.#key = createSecretKey(replaced._encKey)
    this.#nonce = Buffer.from(replaced._encIV)
    this.#write = write
    replaced.free()
  }

  allocPacket(payloadBytes: number): Buffer {
    const paddingBytes = paddingOf(1 + payloadBytes)
    const packet = Buffer.allocUnsafe(4 + 1 + payloadBytes + paddingBytes)
    packet.writeUInt32BE(packet.length - 4, 0)
    packet.writeUInt8(paddingBytes, 4)
    randomFillSync(packet, 5 + payloadBytes, paddingBytes)
    return packet
  }

  encrypt(packet: Buffer): void {
    this.#seal(packet.length - 4, packet.subarray(4), EMPTY, EMPTY)
  }

  /** One SSH_MSG_CHANNEL_DATA. `data` is not kept. */
  sealChannelData(channel: number, data: Uint8Array): void {
    const paddingBytes = paddingOf(DATA_HEAD_BYTES + data.length)
    const head = Buffer.allocUnsafe(DATA_HEAD_BYTES)
    head.writeUInt8(paddingBytes, 0)
    head.writeUInt8(MSG_CHANNEL_DATA, 1)
    head.writeUInt32BE(channel, 2)
    head.writeUInt32BE(data.length, 6)
    this.#seal(DATA_HEAD_BYTES + data.length + paddingBytes, head, data, this.#padding.subarray(0, paddingBytes))
  }

  free(): void {
    // Nothing to free: keys are collected with this object.
  }

  #seal(lengthBytes: number, head: Uint8Array, data: Uint8Array, padding: Uint8Array): void {
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32BE(lengthBytes, 0)
    const cipher = createCipheriv(this.#algorithm, this.#key, this.#nonce, { authTagLength: TAG_BYTES })
    cipher.setAAD(length)
    const sealedHead = cipher.update(head)
    const sealedData = data.length === 0 ? EMPTY : cipher.update(data)
    const sealedPadding = padding.length === 0 ? EMPTY : cipher.update(padding)
    cipher.final()
    countNonceUp(this.#nonce)
    this.outSeqno = (this.outSeqno + 1) >>> 0
    this.sealedBytes += lengthBytes
    notePacketMemory(lengthBytes)
    const first = Buffer.concat([length, sealedHead])
    const last = Buffer.concat([sealedPadding, cipher.getAuthTag()])
    this.#write(sealedData.length === 0 ? [first, last] : [first, sealedData, last])
  }
}

/** Padding up to a whole block, at least 4 bytes (RFC 4253, 6; the length field is outside, as it is not sealed). */
function paddingOf(bytes: number): number {
  const padding = BLOCK_BYTES - (bytes % BLOCK_BYTES)
  return padding < PADDING_BYTES_MIN ? padding + BLOCK_BYTES : padding
}
