import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBlockStatus } from './block-status.ts'
import {
  decodeInfo,
  decodeMetaContext,
  decodeOptionReplyHeader,
  encodeGo,
  encodeOption,
  encodeSetMetaContext,
  OPTION_HEADER_BYTES,
  OPTION_REPLY_HEADER_BYTES,
} from './handshake-options.ts'
import { NBD_EXTENDED_REPLY_MAGIC, NBD_INFO_BLOCK_SIZE, NBD_REPLY_FLAG_DONE } from './nbd-constants.ts'
import {
  encodeBlockSizeInfo,
  encodeExportInfo,
  encodeMetaContext,
  encodeOptionReply,
  encodeServer,
} from './option-replies.ts'
import { decodeInfoRequest, decodeMetaContextRequest, decodeOption, QUERIES_MAX } from './option-requests.ts'
import { decodeRequest, decodeStatusFilter, requestHeaderBytes } from './received-request.ts'
import {
  cutText,
  encodeBlockStatus,
  encodeError,
  encodeNone,
  encodeOffsetData,
  encodeOffsetHole,
  encodeSimpleReply,
} from './reply-encoding.ts'
import { decodeReplyHeader, EXTENDED_REPLY_BYTES, STRUCTURED_REPLY_BYTES } from './reply-header.ts'
import { encodeRequest } from './requests.ts'

const anySize = fc.nat(Number.MAX_SAFE_INTEGER)
const anyU32 = fc.nat(2 ** 32 - 1)
const anyU16 = fc.nat(2 ** 16 - 1)
const anyCookie = fc.bigInt(0n, 2n ** 64n - 1n)
const anyName = fc.string({ maxLength: 100, unit: 'grapheme' })
const anyRuns = fc.array(fc.record({ lengthBytes: fc.integer({ min: 1, max: 2 ** 32 - 1 }), flags: anyU32 }), {
  minLength: 1,
  maxLength: 20,
})

describe('what a client encodes, a server decodes', () => {
  test('a request', () => {
    const any = fc.record({
      command: fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7).map((command) => command as 0),
      commandFlags: anyU16,
      cookie: anySize,
      offsetBytes: anySize,
      lengthBytes: anyU32,
    })
    fc.assert(
      fc.property(any, (request) => {
        const { cookie, offset, ...rest } = decodeRequest(encodeRequest(request), false)
        const payloadBytes = request.command === (1 as number) ? request.lengthBytes : 0
        expect(offset).toBe(BigInt(request.offsetBytes))
        expect({ ...rest, cookie: Number(cookie) }).toEqual({ ...request, payloadBytes })
      }),
    )
  })

  test('an option with its data', () => {
    fc.assert(
      fc.property(anyU32, fc.uint8Array({ maxLength: 300 }), (option, data) => {
        const bytes = encodeOption(option, Buffer.from(data))
        expect(decodeOption(bytes)).toEqual({ option, lengthBytes: data.length })
        expect(bytes.length).toBe(OPTION_HEADER_BYTES + data.length)
      }),
    )
  })

  test('export names, informations and contexts', () => {
    fc.assert(
      fc.property(anyName, fc.array(anyName, { maxLength: QUERIES_MAX }), (exportName, queries) => {
        const go = encodeGo(exportName).subarray(OPTION_HEADER_BYTES)
        expect(decodeInfoRequest(go)).toEqual({ exportName, infos: [NBD_INFO_BLOCK_SIZE] })
        const contexts = encodeSetMetaContext(exportName, queries).subarray(OPTION_HEADER_BYTES)
        expect(decodeMetaContextRequest(contexts)).toEqual({ exportName, queries })
      }),
    )
  })

  test('more queries than a server looks at are no list at all', () => {
    const contexts = encodeSetMetaContext(
      'e',
      Array.from({ length: QUERIES_MAX + 1 }, () => 'a:b'),
    )
    expect(decodeMetaContextRequest(contexts.subarray(OPTION_HEADER_BYTES)).queries).toBeUndefined()
  })
})

describe('what a server encodes, a client decodes', () => {
  test('option replies and informations', () => {
    const sizes = { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 2 ** 25 }
    expect(decodeInfo(encodeBlockSizeInfo(sizes))).toEqual({ kind: 'block-size', ...sizes })
    fc.assert(
      fc.property(anyU32, anyU32, anySize, anyU16, (option, type, sizeBytes, flags) => {
        const bytes = encodeOptionReply(option, type, encodeExportInfo({ sizeBytes, flags }))
        expect(decodeOptionReplyHeader(bytes, option)).toEqual({ option, type, lengthBytes: 12 })
        const payload = bytes.subarray(OPTION_REPLY_HEADER_BYTES)
        expect(decodeInfo(payload)).toEqual({ kind: 'export', sizeBytes, flags })
      }),
    )
  })

  test('names of exports and contexts', () => {
    fc.assert(
      fc.property(anyU32, anyName, anyName, (id, text, description) => {
        const name = `x:${text}`
        expect(decodeMetaContext(encodeMetaContext(id, name))).toEqual({ id, name })
        const server = encodeServer(name, description)
        const nameEnd = 4 + server.readUInt32BE(0)
        expect([server.toString('utf8', 4, nameEnd), server.toString('utf8', nameEnd)]).toEqual([name, description])
      }),
    )
  })

  test('simple replies and chunks, with all 64 bits of the cookie', () => {
    fc.assert(
      fc.property(anyCookie, anySize, anyU32, fc.boolean(), (cookie, offsetBytes, lengthBytes, isLast) => {
        const request = { cookie, offset: 7n }
        const simple = encodeSimpleReply(cookie, lengthBytes)
        expect(decodeReplyHeader(simple)).toEqual({
          kind: 'simple',
          errorNumber: lengthBytes,
          cookie: Number(cookie >> 32n) * 2 ** 32 + Number(cookie & 0xffffffffn),
        })
        expect(simple.readBigUInt64BE(8)).toBe(cookie)
        const hole = encodeOffsetHole('structured', request, { offsetBytes, lengthBytes, isLast })
        expect(decodeReplyHeader(hole)).toMatchObject({
          flags: isLast ? NBD_REPLY_FLAG_DONE : 0,
          type: 2,
          lengthBytes: 12,
        })
        expect(hole.readBigUInt64BE(8)).toBe(cookie)
        expect(hole.readBigUInt64BE(STRUCTURED_REPLY_BYTES)).toBe(BigInt(offsetBytes))
        expect(hole.readUInt32BE(STRUCTURED_REPLY_BYTES + 8)).toBe(lengthBytes)
        const data = { offsetBytes, lengthBytes: 1000, isLast }
        expect(decodeReplyHeader(encodeOffsetData('structured', request, data))).toMatchObject({ lengthBytes: 1008 })
        expect(decodeReplyHeader(encodeNone('structured', request))).toMatchObject({
          type: 0,
          flags: 1,
          lengthBytes: 0,
        })
      }),
    )
  })

  test('extended chunks repeat the offset of the request and tell their own length', () => {
    fc.assert(
      fc.property(anyCookie, anyCookie, anyRuns, (cookie, offset, runs) => {
        const request = { cookie, offset }
        for (const bytes of [
          encodeNone('extended', request),
          encodeOffsetHole('extended', request, { offsetBytes: 5, lengthBytes: 6, isLast: true }),
          encodeError('extended', request, { errorNumber: 5, text: 'broken' }),
          encodeBlockStatus('extended', request, { contextId: 3, runs, isLast: true }),
        ]) {
          expect(bytes.readUInt32BE(0)).toBe(NBD_EXTENDED_REPLY_MAGIC)
          expect(bytes.readBigUInt64BE(8)).toBe(cookie)
          expect(bytes.readBigUInt64BE(16)).toBe(offset)
          expect(bytes.readBigUInt64BE(24)).toBe(BigInt(bytes.length - EXTENDED_REPLY_BYTES))
        }
      }),
    )
  })

  test('block status', () => {
    fc.assert(
      fc.property(anyU32, anyRuns, (contextId, runs) => {
        const request = { cookie: 1n, offset: 0n }
        const bytes = encodeBlockStatus('structured', request, { contextId, runs, isLast: false })
        expect(decodeBlockStatus(bytes.subarray(STRUCTURED_REPLY_BYTES))).toEqual({ contextId, runs })
        const extended = encodeBlockStatus('extended', request, { contextId, runs, isLast: false })
        expect(extended.readUInt32BE(EXTENDED_REPLY_BYTES)).toBe(contextId)
        expect(extended.readUInt32BE(EXTENDED_REPLY_BYTES + 4)).toBe(runs.length)
        for (const [index, run] of runs.entries()) {
          const at = EXTENDED_REPLY_BYTES + 8 + index * 16
          expect(extended.readBigUInt64BE(at)).toBe(BigInt(run.lengthBytes))
          expect(extended.readBigUInt64BE(at + 8)).toBe(BigInt(run.flags))
        }
      }),
    )
  })

  test('texts of at most 4096 bytes, whole characters', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 900, maxLength: 3000, unit: 'binary' }), (text) => {
        const cut = cutText(text)
        expect(cut.length).toBeLessThanOrEqual(4096)
        expect(text.toWellFormed().startsWith(cut.toString('utf8'))).toBe(true)
        const whole = Buffer.byteLength(text)
        expect(cut.length).toBeGreaterThan(Math.min(whole, 4096) - 4)
      }),
      { numRuns: 20 },
    )
  })
})

describe('random bytes', () => {
  const decoders: Record<string, (bytes: Buffer) => unknown> = {
    'decodeOption': (bytes) => decodeOption(Buffer.concat([bytes, Buffer.alloc(OPTION_HEADER_BYTES)])),
    decodeInfoRequest,
    decodeMetaContextRequest,
    decodeStatusFilter,
    'compact request': (bytes) => decodeRequest(Buffer.concat([bytes, Buffer.alloc(requestHeaderBytes(false))]), false),
    'extended request': (bytes) => decodeRequest(Buffer.concat([bytes, Buffer.alloc(requestHeaderBytes(true))]), true),
  }

  test.each(Object.entries(decoders))('end %s with a violation or with what they say', (_, decode) => {
    const anyBytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.array(fc.constantFrom(0, 0, 0, 1, 2, 4, 255), { maxLength: 200 }).map((bytes) => Uint8Array.from(bytes)),
    )
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(['value', 'violation']).toContain(endOf(() => decode(Buffer.from(bytes))))
      }),
      { numRuns: 2000 },
    )
  })

  test('a filter of no or half or doubled ids is none', () => {
    expect(decodeStatusFilter(Buffer.alloc(8))).toBeUndefined()
    expect(decodeStatusFilter(Buffer.alloc(14))).toBeUndefined()
    expect(decodeStatusFilter(Buffer.alloc(16))).toBeUndefined()
    const two = Buffer.alloc(16)
    two.writeUInt32BE(4096, 4)
    two.writeUInt32BE(9, 12)
    expect(decodeStatusFilter(two)).toEqual({ lengthBytes: 4096, contextIds: [0, 9] })
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
