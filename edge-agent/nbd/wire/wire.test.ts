import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ContextStatus, decodeExtendedBlockStatus } from './block-status.ts'
import {
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
} from './nbd-constants.ts'
import { encodeBlockStatus } from './reply-encoding.ts'
import { EXTENDED_REPLY_BYTES } from './reply-header.ts'
import { encodeRequest } from './requests.ts'
import { readU64, writeU64 } from './u64.ts'

const anyU32 = fc.nat(0xffffffff)
const anySafe = fc.maxSafeNat()

describe('NBD numbers', () => {
  test('a u64 is read as it was written', () => {
    fc.assert(
      fc.property(anySafe, (value) => {
        const bytes = Buffer.alloc(8)
        writeU64(bytes, value, 0)
        expect(bytes.readBigUInt64BE()).toBe(BigInt(value))
        expect(readU64(bytes, 0)).toBe(value)
      }),
    )
  })
})

describe('NBD requests', () => {
  const anyHeader = fc.record({
    command: fc.constantFrom(NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM),
    commandFlags: fc.nat(31),
    cookie: anySafe,
    offsetBytes: anySafe,
    lengthBytes: anyU32,
  })

  test('a compact header has every field at its place', () => {
    fc.assert(
      fc.property(anyHeader, (request) => {
        const bytes = encodeRequest(request)
        expect(bytes).toHaveLength(28)
        expect(bytes.readUInt32BE(0)).toBe(NBD_REQUEST_MAGIC)
        expect(bytes.readUInt16BE(4)).toBe(request.commandFlags)
        expect(bytes.readUInt16BE(6)).toBe(request.command)
        expect([8, 16].map((at) => readU64(bytes, at))).toEqual([request.cookie, request.offsetBytes])
        expect(bytes.readUInt32BE(24)).toBe(request.lengthBytes)
      }),
    )
  })

  test('an extended header has lengths of 64 bits, and says of a write that it has a payload', () => {
    fc.assert(
      fc.property(anyHeader, anySafe, (header, lengthBytes) => {
        const request = { ...header, lengthBytes }
        const bytes = encodeRequest(request, 'extended')
        const payloadFlag = request.command === NBD_CMD_WRITE ? NBD_CMD_FLAG_PAYLOAD_LEN : 0
        expect(bytes).toHaveLength(32)
        expect(bytes.readUInt32BE(0)).toBe(NBD_EXTENDED_REQUEST_MAGIC)
        expect(bytes.readUInt16BE(4)).toBe(request.commandFlags | payloadFlag)
        expect(bytes.readUInt16BE(6)).toBe(request.command)
        const { cookie, offsetBytes } = request
        expect([8, 16, 24].map((at) => readU64(bytes, at))).toEqual([cookie, offsetBytes, lengthBytes])
      }),
    )
  })
})

describe('NBD block status', () => {
  test('extended, is decoded as it was encoded, lengths beyond 32 bits too', () => {
    const anyLong = fc.record({ lengthBytes: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), flags: anyU32 })
    const anyLongStatus = fc.record({ contextId: anyU32, runs: fc.array(anyLong, { minLength: 1, maxLength: 30 }) })
    fc.assert(
      fc.property(anyLongStatus, (status) => {
        expect(decodeExtendedBlockStatus(encodeExtendedBlockStatus(status))).toEqual(status)
      }),
    )
  })

  test('extended, is refused with another count, a descriptor of nothing or a flag beyond bit 31', () => {
    const whole = encodeExtendedBlockStatus({ contextId: 1, runs: [{ lengthBytes: 5, flags: 1 }] })
    const wrong = [0, 2].map((count) => withU32(whole, 4, count))
    const broken = [...wrong, withU32(whole, 12, 0), withU32(whole, 16, 1), whole.subarray(0, 23), whole.subarray(0, 8)]
    for (const payload of broken) {
      expect(() => decodeExtendedBlockStatus(payload)).toThrow(
        expect.objectContaining({ code: 'nbd.protocol_violation' }),
      )
    }
  })
})

function encodeExtendedBlockStatus(status: ContextStatus): Buffer {
  const chunk = encodeBlockStatus('extended', { cookie: 1n, offset: 0n }, { ...status, isLast: true })
  return chunk.subarray(EXTENDED_REPLY_BYTES)
}

function withU32(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt32BE(value, at)
  return copy
}
