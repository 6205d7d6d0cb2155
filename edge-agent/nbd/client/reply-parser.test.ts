import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBlockStatus, mergeContexts, type StatusRun } from '../wire/block-status.ts'
import { decodeInfo, decodeMetaContext, decodeOptionReplyHeader } from '../wire/handshake-options.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_STATE_ZERO,
  QEMU_STATE_DIRTY,
} from '../wire/nbd-constants.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import type { PendingRequest } from './pending-request.ts'
import { ReadCoverage } from './read-coverage.ts'
import { ReplyParser } from './reply-parser.ts'
import { chunk, simpleReply, u16, u32, u64 } from './scripted-nbd-server.ts'

const READ_BYTES = 600

/** Three requests in flight: a read, a block status, a flush. */
function makeRequests(): PendingRequest[] {
  const nothing = { into: undefined, coverage: undefined, contexts: undefined, contextIds: new Set([1]) }
  const base = { commandFlags: 0, offsetBytes: 4096, lengthBytes: READ_BYTES, ...nothing }
  return [
    {
      ...base,
      cookie: 1,
      command: NBD_CMD_READ,
      into: new Uint8Array(READ_BYTES),
      coverage: new ReadCoverage(READ_BYTES),
    },
    { ...base, cookie: 2, command: NBD_CMD_BLOCK_STATUS, contexts: new Map() },
    { ...base, cookie: 3, command: NBD_CMD_FLUSH },
  ].map((request) => {
    const holding = { isAbandoned: false, holdBuffers: () => {}, releaseBuffers: () => {} }
    return { ...request, ...holding, failure: undefined, errorChunks: 0 } as PendingRequest
  })
}

interface Parsed {
  readonly done: readonly number[]
  readonly read: Uint8Array
  readonly failures: readonly (string | undefined)[]
  readonly error: unknown
}

/** How bytes reach the parser: as pieces it copies from, or received in place, as much of each piece as it has room for. */
type Feed = (parser: ReplyParser, piece: Buffer) => void

const byCopy: Feed = (parser, piece) => parser.consume(piece)

const inPlace: Feed = (parser, piece) => {
  for (let at = 0; at < piece.length;) {
    const room = parser.room()
    const takenBytes = Math.min(room.length, piece.length - at)
    room.set(piece.subarray(at, at + takenBytes))
    parser.filled(takenBytes)
    at += takenBytes
  }
}

function parse(pieces: readonly Buffer[], replyStyle: ReplyStyle, feed: Feed = byCopy): Parsed {
  const requests = makeRequests()
  const waiting = new Map(requests.map((request) => [request.cookie, request]))
  const done: number[] = []
  const onDone = ({ cookie }: PendingRequest): void => {
    waiting.delete(cookie)
    done.push(cookie)
  }
  const parser = new ReplyParser({ replyStyle, find: (cookie) => waiting.get(cookie), onDone })
  let error: unknown
  try {
    for (const piece of pieces) feed(parser, piece)
  } catch (thrown) {
    error = thrown
  }
  const read = requests[0]?.into ?? new Uint8Array()
  return { done, read, failures: requests.map(({ failure }) => failure?.code), error }
}

const anyStyle = fc.constantFrom<ReplyStyle>('simple', 'structured', 'extended')
const anyFeed = fc.constantFrom(byCopy, inPlace)

function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].toSorted((a, b) => a - b)
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end))
}

const anyBytes = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes))
const anyCookie = fc.constantFrom(1n, 2n, 3n, 4n)
const anyType = fc.constantFrom(
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  6,
  0xffff,
)

/** Nearly right replies, so that the fuzz reaches behind the magic. */
const anyHostileReply = fc.oneof(
  anyBytes,
  fc.tuple(anyCookie, fc.nat(30), anyBytes).map(([cookie, error, tail]) => simpleReply(cookie, error, tail)),
  fc.tuple(anyCookie, anyType, anyBytes, fc.nat(2)).map(([...parts]) => chunk(...parts)),
  fc
    .tuple(anyCookie, fc.integer({ min: 4000, max: 4800 }), fc.uint8Array({ maxLength: 700 }), fc.nat(1))
    .map(([cookie, at, bytes, flags]) => {
      return chunk(cookie, NBD_REPLY_TYPE_OFFSET_DATA, Buffer.concat([u64(BigInt(at)), bytes]), flags)
    }),
  fc
    .tuple(anyCookie, fc.integer({ min: 4000, max: 4800 }), fc.nat(700), fc.nat(1))
    .map(([cookie, at, length, flags]) => {
      return chunk(cookie, NBD_REPLY_TYPE_OFFSET_HOLE, Buffer.concat([u64(BigInt(at)), u32(length)]), flags)
    }),
)

describe('NBD reply parser', () => {
  test('hostile bytes end in nbd.protocol_violation or in replies, the same whatever pieces they come in', () => {
    const anyStream = fc.array(anyHostileReply, { maxLength: 8 }).map((replies) => Buffer.concat(replies))
    fc.assert(
      fc.property(
        anyStream,
        fc.array(fc.nat(2000), { maxLength: 12 }),
        anyStyle,
        anyFeed,
        (stream, cuts, style, feed) => {
          const whole = parse([stream], style)
          const inPieces = parse(cutAt(stream, cuts), style, feed)
          expect(inPieces.done).toEqual(whole.done)
          expect(inPieces.failures).toEqual(whole.failures)
          expect((inPieces.error as { code?: string } | undefined)?.code).toBe(
            (whole.error as { code?: string } | undefined)?.code,
          )
          expect([undefined, 'nbd.protocol_violation']).toContain((whole.error as { code?: string } | undefined)?.code)
          const isRead = whole.done.includes(1)
          expect(isRead ? Buffer.compare(inPieces.read, whole.read) : 0).toBe(0)
        },
      ),
      { numRuns: 1000 },
    )
  })

  test('a read resolves with exactly the bytes that were sent, however they are cut and ordered', () => {
    const anyCuts = fc.uniqueArray(fc.integer({ min: 1, max: READ_BYTES - 1 }), { maxLength: 8 })
    fc.assert(
      fc.property(
        anyCuts,
        fc.infiniteStream(fc.nat(1000)),
        fc.array(fc.nat(2000)),
        anyFeed,
        (cuts, order, pieces, feed) => {
          const content = Buffer.from(Array.from({ length: READ_BYTES }, (_, at) => at % 251))
          const ends = [...cuts.toSorted((a, b) => a - b), READ_BYTES]
          const parts = ends.map((end, index) => ({ start: ends[index - 1] ?? 0, end, rank: order.next().value ?? 0 }))
          const replies = parts
            .toSorted((left, right) => left.rank - right.rank)
            .map(({ start, end }) => {
              const payload = Buffer.concat([u64(BigInt(4096 + start)), content.subarray(start, end)])
              return chunk(1n, NBD_REPLY_TYPE_OFFSET_DATA, payload, 0)
            })
          const stream = Buffer.concat([...replies, chunk(1n, NBD_REPLY_TYPE_NONE, Buffer.alloc(0))])
          const parsed = parse(cutAt(stream, pieces), 'structured', feed)
          expect(parsed.error).toBeUndefined()
          expect(parsed.done).toEqual([1])
          expect(Buffer.compare(parsed.read, content)).toBe(0)
        },
      ),
    )
  })

  test('an error chunk fails only its request', () => {
    const error = chunk(1n, NBD_REPLY_TYPE_ERROR, Buffer.concat([u32(5), u16(0)]))
    const parsed = parse([Buffer.concat([error, simpleReply(3n, 0)])], 'structured')
    expect(parsed.done).toEqual([1, 3])
    expect(parsed.failures).toEqual(['nbd.io_failed', undefined, undefined])
  })
})

describe('NBD decoders', () => {
  test('refuse hostile bytes with nbd.protocol_violation and nothing else', () => {
    const decoders = [
      decodeInfo,
      decodeMetaContext,
      decodeBlockStatus,
      (bytes: Buffer) => decodeOptionReplyHeader(Buffer.concat([bytes, Buffer.alloc(20)]), 7),
    ]
    const anyPayload = fc.oneof(
      anyBytes,
      anyBytes.map((bytes) => Buffer.concat([u16(3), bytes])),
    )
    fc.assert(
      fc.property(fc.constantFrom(...decoders), anyPayload, (decode, bytes) => {
        let code: unknown = 'nbd.protocol_violation'
        try {
          decode(bytes)
        } catch (error) {
          code = (error as { code?: unknown }).code
        }
        expect(code).toBe('nbd.protocol_violation')
      }),
      { numRuns: 1000 },
    )
  })
})

/** Flags of the run that byte `at` lies in, counted from where the runs begin. */
function lookUp(runs: readonly StatusRun[], at: number): number {
  let end = 0
  const run = runs.find(({ lengthBytes }) => {
    end += lengthBytes
    return at < end
  })
  return run?.flags ?? 0
}

function sum(runs: readonly StatusRun[]): number {
  return runs.reduce((total, run) => total + run.lengthBytes, 0)
}

describe('block status', () => {
  const anyRun = fc.record({ lengthBytes: fc.integer({ min: 1, max: 40 }), flags: fc.nat(7) })
  const anyRuns = fc.array(anyRun, { minLength: 1, maxLength: 12 })

  test('merged contexts say of every byte what both said, up to where the shorter ends', () => {
    fc.assert(
      fc.property(anyRuns, anyRuns, fc.integer({ min: 1, max: 300 }), (allocation, dirty, lengthBytes) => {
        const extents = mergeContexts({ offsetBytes: 1000, lengthBytes }, allocation, dirty)
        let at = 1000
        for (const extent of extents) {
          expect(extent.offsetBytes).toBe(at)
          for (; at < extent.offsetBytes + extent.lengthBytes; at += 1) {
            expect(extent.zero).toBe((lookUp(allocation, at - 1000) & NBD_STATE_ZERO) !== 0)
            expect(extent.dirty).toBe((lookUp(dirty, at - 1000) & QEMU_STATE_DIRTY) !== 0)
          }
        }
        expect(at - 1000).toBe(Math.min(lengthBytes, sum(allocation), sum(dirty)))
      }),
    )
  })

  test('a hole that is not said to be zero is not zero', () => {
    const range = { offsetBytes: 0, lengthBytes: 10 }
    expect(mergeContexts(range, [{ lengthBytes: 10, flags: 1 }], undefined)).toEqual([
      { ...range, zero: false, dirty: true },
    ])
  })
})
