import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { GcmOpener } from './gcm-opener.ts'
import { GcmSealer } from './gcm-sealer.ts'
import type { Ssh2GcmCipher, Ssh2GcmDecipher } from './ssh2-protocol.ts'

interface CipherInfo {
  readonly keyLen: number
  readonly ivLen: number
}

/** ssh2's own packets, which ours must be the same as. */
const theirs = createRequire(import.meta.url)('ssh2/lib/protocol/crypto.js') as {
  readonly CIPHER_INFO: Readonly<Record<string, CipherInfo>>
  createCipher(config: object): Ssh2GcmCipher
  createDecipher(config: object): Ssh2GcmDecipher
}

const CHANNEL_DATA = 94
const PACKET_BYTES_MAX = 256 * 1024

/** One direction of a connection: both ends with the same key and nonce, as ssh2 makes them. */
function openPair(name: string, onPayload: (payload: Buffer) => void = () => undefined) {
  const cipherInfo = theirs.CIPHER_INFO[name]
  if (cipherInfo === undefined) throw new Error(`ssh2 has no ${name}`)
  const key = randomBytes(cipherInfo.keyLen)
  // The counter is about to carry into its upper half.
  const nonce = Buffer.from('00000001fffffffffffffffe', 'hex')
  const wire: Buffer[] = []
  const outbound = {
    seqno: 0,
    onWrite: (piece: Buffer) => wire.push(Buffer.from(piece)),
    cipherInfo,
    cipherKey: key,
    cipherIV: Buffer.from(nonce),
  }
  const inbound = {
    seqno: 0,
    onPayload: (payload: Buffer) => {
      onPayload(Buffer.from(payload))
    },
    decipherInfo: cipherInfo,
    decipherKey: key,
    decipherIV: Buffer.from(nonce),
  }
  return {
    cipher: theirs.createCipher({ outbound }),
    decipher: theirs.createDecipher({ inbound }),
    /** What was sent since it was asked the last time. */
    taken: () => Buffer.concat(wire.splice(0)),
    write: (pieces: readonly Uint8Array[]) => wire.push(...pieces.map((piece) => Buffer.from(piece))),
  }
}

function openerOf(decipher: Ssh2GcmDecipher, received: { channel: number; data: Buffer }[]): GcmOpener {
  return new GcmOpener(decipher, {
    packetBytesMax: PACKET_BYTES_MAX,
    onChannelData: (channel, pieces, bytes) => {
      const data = Buffer.concat(pieces)
      expect(data).toHaveLength(bytes)
      received.push({ channel, data })
    },
    isOver: () => false,
  })
}

function sendPayload(cipher: Pick<Ssh2GcmCipher, 'allocPacket' | 'encrypt'>, payload: Buffer): void {
  const packet = cipher.allocPacket(payload.length)
  packet.set(payload, 5)
  cipher.encrypt(packet)
}

/** In pieces as they may come from a socket. */
function feed(opener: GcmOpener | Ssh2GcmDecipher, bytes: Buffer, cuts: readonly number[]): void {
  let from = 0
  for (const cut of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
    const chunk = bytes.subarray(from, Math.min(cut, bytes.length))
    if (chunk.length > 0) opener.decrypt(Buffer.from(chunk), 0, chunk.length)
    from = Math.max(from, Math.min(cut, bytes.length))
  }
}

const names = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com']
const payloads = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { minLength: 1, maxLength: 8 })
const cuts = fc.array(fc.nat(3000), { maxLength: 12 })

test.each(names)('what we seal with %s is what ssh2 opens, data and messages', (name) => {
  fc.assert(
    fc.property(payloads, (messages) => {
      const got: Buffer[] = []
      const { cipher, decipher, taken, write } = openPair(name, (payload) => got.push(payload))
      const sealer = new GcmSealer(cipher, write)
      const wanted: Buffer[] = []
      for (const [index, message] of messages.entries()) {
        if (index % 2 === 0) {
          sendPayload(sealer, Buffer.from(message))
          wanted.push(Buffer.from(message))
        } else {
          sealer.sealChannelData(index, message)
          const head = Buffer.from([CHANNEL_DATA, 0, 0, 0, index, 0, 0, message.length >> 8, message.length & 255])
          wanted.push(Buffer.concat([head, message]))
        }
      }
      const bytes = taken()
      decipher.decrypt(bytes, 0, bytes.length)
      expect(got).toEqual(wanted)
      expect(sealer.outSeqno).toBe(messages.length)
    }),
    { numRuns: 50 },
  )
})

test.each(names)('what ssh2 seals with %s is what we open, however it is cut', (name) => {
  fc.assert(
    fc.property(payloads, cuts, (messages, where) => {
      const got: Buffer[] = []
      const { cipher, decipher, taken } = openPair(name, (payload) => got.push(payload))
      const data: { channel: number; data: Buffer }[] = []
      const opener = openerOf(decipher, data)
      const plain = messages.map((message) => Buffer.from(message).fill(2, 0, 1))
      for (const message of plain) sendPayload(cipher, message)
      feed(opener, taken(), where)
      expect(got).toEqual(plain)
      expect(data).toEqual([])
      expect(opener.inSeqno).toBe(messages.length)
    }),
    { numRuns: 50 },
  )
})

test('data of channels arrives whole and in order, however it is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(70_000), { minLength: 1, maxLength: 4 }), cuts, (sizes, where) => {
      const { cipher, decipher, taken, write } = openPair('aes128-gcm@openssh.com', (payload) => {
        // A head that was cut comes the ordinary way.
        const dataBytes = payload.readUInt32BE(5)
        data.push({ channel: payload.readUInt32BE(1), data: payload.subarray(9, 9 + dataBytes) })
      })
      const data: { channel: number; data: Buffer }[] = []
      const opener = openerOf(decipher, data)
      const sealer = new GcmSealer(cipher, write)
      const sent = sizes.map((size, index) => ({ channel: index, data: randomBytes(size) }))
      for (const each of sent) sealer.sealChannelData(each.channel, each.data)
      feed(opener, taken(), where)
      expect(data).toEqual(sent)
    }),
    { numRuns: 100 },
  )
})

test('no single flipped bit is opened, and nothing of its packet is told', () => {
  const { cipher, taken, write } = openPair('aes128-gcm@openssh.com')
  const sealer = new GcmSealer(cipher, write)
  sealer.sealChannelData(1, randomBytes(40))
  const sealed = taken()
  expect(sealed.length).toBeGreaterThan(60)
  for (let bit = 0; bit < sealed.length * 8; bit += 1) {
    const told: unknown[] = []
    const fresh = openPairLike(cipher, (payload) => told.push(payload))
    const opener = openerOf(fresh, told as { channel: number; data: Buffer }[])
    const forged = Buffer.from(sealed)
    forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    // A longer length only makes it wait for more: so more is there.
    expect(() => feed(opener, Buffer.concat([forged, randomBytes(PACKET_BYTES_MAX)]), [])).toThrow(
      /packet of|authenticate/,
    )
    expect(told).toEqual([])
  }
})

test.each([
  ['too long', PACKET_BYTES_MAX + 16],
  ['no whole number of blocks', 24],
  ['less than a block', 0],
  ['as long as can be said', 0xff_ff_ff_f0],
])('a length that is %s ends it before anything is kept', (_what, length) => {
  const { decipher } = openPair('aes128-gcm@openssh.com')
  const opener = openerOf(decipher, [])
  const head = Buffer.alloc(4)
  head.writeUInt32BE(length)
  expect(() => feed(opener, head, [])).toThrow('a packet of')
})

test('nothing behind the packet that ended the connection is told', () => {
  const { cipher, decipher, taken, write } = openPair('aes128-gcm@openssh.com')
  const sealer = new GcmSealer(cipher, write)
  let told = 0
  const opener = new GcmOpener(decipher, {
    packetBytesMax: PACKET_BYTES_MAX,
    onChannelData: () => (told += 1),
    isOver: () => told > 0,
  })
  for (let count = 0; count < 3; count++) sealer.sealChannelData(1, Buffer.of(1))
  const bytes = taken()
  expect(opener.decrypt(bytes, 0, bytes.length)).toBe(bytes.length)
  expect(told).toBe(1)
})

/** A decipher for what `cipher` has sealed first. */
function openPairLike(cipher: Ssh2GcmCipher, onPayload: (payload: Buffer) => void): Ssh2GcmDecipher {
  return theirs.createDecipher({
    inbound: {
      seqno: 0,
      onPayload: (payload: Buffer) => {
        onPayload(payload)
      },
      decipherInfo: theirs.CIPHER_INFO['aes128-gcm@openssh.com'],
      decipherKey: cipher._encKey,
      decipherIV: Buffer.from('00000001fffffffffffffffe', 'hex'),
    },
  })
}
