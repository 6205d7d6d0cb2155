import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ContextStatus, decodeBlockStatus, decodeExtendedBlockStatus } from './block-status.ts'
import {
  decodeExportFacts,
  decodeInfo,
  decodeListedExport,
  decodeMetaContext,
  decodeOptionReplyHeader,
  decodeString,
  encodeInfoOption,
  encodeMetaContextOption,
  OPTION_HEADER_BYTES,
} from './handshake-options.ts'
import {
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_OPT_INFO,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_REQUEST_MAGIC,
} from './nbd-constants.ts'
import {
  encodeDescriptionInfo,
  encodeExportInfo,
  encodeExportNameAnswer,
  encodeMetaContext,
  encodeNameInfo,
  encodeServer,
} from './option-replies.ts'
import { decodeInfoRequest, decodeMetaContextRequest } from './option-requests.ts'
import { encodeBlockStatus } from './reply-encoding.ts'
import { decodeReplyHeader, EXTENDED_REPLY_BYTES, replyHeaderBytes } from './reply-header.ts'
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

describe('what a server says of its exports', () => {
  const anyText = fc
    .string({ unit: 'binary', maxLength: 80 })
    .filter((text) => text.isWellFormed() && !text.includes('\0'))

  test('is decoded as it was encoded', () => {
    fc.assert(
      fc.property(anyText, anyText, anyU32, (exportName, description, id) => {
        expect(decodeListedExport(encodeServer(exportName, description))).toEqual({ exportName, description })
        expect(decodeInfo(encodeNameInfo(exportName))).toEqual({ kind: 'name', text: exportName })
        expect(decodeInfo(encodeDescriptionInfo(description))).toEqual({ kind: 'description', text: description })
        expect(decodeMetaContext(encodeMetaContext(id, `x:${exportName}`))).toEqual({ id, name: `x:${exportName}` })
      }),
    )
    const anyInfo = fc.record({ sizeBytes: anySafe, flags: fc.nat(0xffff) })
    fc.assert(
      fc.property(anyInfo, fc.boolean(), (info, noZeroes) => {
        expect(decodeInfo(encodeExportInfo(info))).toEqual({ kind: 'export', ...info })
        const answer = encodeExportNameAnswer(info, noZeroes)
        expect(decodeExportFacts(answer)).toEqual(info)
        expect(answer).toHaveLength(noZeroes ? 10 : 134)
      }),
    )
  })

  test('what a client asks with INFO and LIST_META_CONTEXT is decoded as it was encoded', () => {
    fc.assert(
      fc.property(anyText, fc.array(anyText, { maxLength: 5 }), fc.uniqueArray(fc.nat(9)), (name, queries, infos) => {
        const info = encodeInfoOption(NBD_OPT_INFO, name, infos).subarray(OPTION_HEADER_BYTES)
        expect(decodeInfoRequest(info)).toEqual({ exportName: name, infos })
        const list = encodeMetaContextOption(NBD_OPT_LIST_META_CONTEXT, name, queries).subarray(OPTION_HEADER_BYTES)
        expect(decodeMetaContextRequest(list)).toEqual({ exportName: name, queries })
      }),
    )
  })

  test('strings that are no strings are refused', () => {
    const bad = [Buffer.from('a\0b'), Buffer.of(0xc3, 0x28), Buffer.alloc(4097, 97)]
    for (const bytes of bad) expect(endOf(() => decodeString(bytes))).toBe('violation')
    expect(decodeString(Buffer.alloc(4096, 97))).toHaveLength(4096)
  })
})

describe('random bytes', () => {
  const decoders: Record<string, (bytes: Buffer) => unknown> = {
    decodeInfo,
    decodeMetaContext,
    decodeListedExport,
    decodeString,
    decodeBlockStatus,
    decodeExtendedBlockStatus,
    decodeExportFacts: (bytes) => decodeExportFacts(Buffer.concat([bytes, Buffer.alloc(10)])),
    decodeOptionReplyHeader: (bytes) => decodeOptionReplyHeader(Buffer.concat([bytes, Buffer.alloc(20)]), 7),
    replyHeaderBytes: (bytes) => replyHeaderBytes(Buffer.concat([bytes, Buffer.alloc(4)]).readUInt32BE(0), 'extended'),
    decodeReplyHeader: (bytes) => decodeReplyHeader(Buffer.concat([bytes, Buffer.alloc(32)])),
  }

  test.each(Object.entries(decoders))('end %s with a violation or with what they say', (_, decode) => {
    const anyBytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.array(fc.constantFrom(0, 0, 0, 1, 2, 3, 12, 255), { maxLength: 200 }).map((bytes) => Uint8Array.from(bytes)),
    )
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(['value', 'violation']).toContain(endOf(() => decode(Buffer.from(bytes))))
      }),
      { numRuns: 1000 },
    )
  })
})

/** How a decoder ended; anything but a value or a violation is thrown on. */
function endOf(decode: () => unknown): 'value' | 'violation' {
  try {
    decode()
    return 'value'
  } catch (error) {
    if (isPlatformError(error, 'nbd.protocol_violation')) return 'violation'
    throw error
  }
}

function encodeExtendedBlockStatus(status: ContextStatus): Buffer {
  const chunk = encodeBlockStatus('extended', { cookie: 1n, offset: 0n }, { ...status, isLast: true })
  return chunk.subarray(EXTENDED_REPLY_BYTES)
}

function withU32(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt32BE(value, at)
  return copy
}
