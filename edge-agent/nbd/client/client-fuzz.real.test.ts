import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { describe, expect, test } from 'vitest'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { mutateSession, SeededNumbers } from '../server/session-mutator.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
} from '../wire/nbd-constants.ts'
import { replyError } from '../wire/nbd-errors.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { AbortListeners } from './abort-listeners.ts'
import { composeReplies } from './compose-replies.ts'
import { HandshakeBuffer } from './handshake-buffer.ts'
import { performHandshake } from './handshake.ts'
import { InFlightRequest } from './in-flight-request.ts'
import { listNbdExports } from './nbd-exports.ts'
import { openNbdSource } from './nbd-source.ts'
import { judgeReplies, type JudgedRequest, type Verdict } from './reply-judge.ts'
import { ReplyParser } from './reply-parser.ts'

/** Both can be given, to look longer or to see a failure again. */
const seed = Number(process.env['NBD_FUZZ_SEED'] ?? 20_261_125)
const iterations = Number(process.env['NBD_FUZZ_ITERATIONS'] ?? 1500)

const corpusDir = join(import.meta.dirname, 'corpus')
const corpus = new Map(
  readdirSync(corpusDir).map((name) => {
    const text = readFileSync(join(corpusDir, name), 'utf8').replaceAll(/#.*/g, '')
    return [name.replace('.hex', ''), Buffer.from(text.replaceAll(/\s/g, ''), 'hex')]
  }),
)

function corpusOf(prefix: string): [name: string, bytes: Buffer][] {
  return [...corpus].filter(([name]) => name.startsWith(prefix))
}

const signal = AbortSignal.timeout(600_000)
const CONTEXT_IDS = [1, 2]
const requests: readonly JudgedRequest[] = [
  { cookie: 1, command: NBD_CMD_READ, commandFlags: 0, offsetBytes: 4096, lengthBytes: 600 },
  { cookie: 2, command: NBD_CMD_BLOCK_STATUS, commandFlags: 0, offsetBytes: 4096, lengthBytes: 600 },
  { cookie: 3, command: NBD_CMD_FLUSH, commandFlags: 0, offsetBytes: 0, lengthBytes: 0 },
  { cookie: 4, command: NBD_CMD_WRITE, commandFlags: 0, offsetBytes: 512, lengthBytes: 8 },
  { cookie: 5, command: NBD_CMD_READ, commandFlags: NBD_CMD_FLAG_DF, offsetBytes: 0, lengthBytes: 64 },
  { cookie: 6, command: NBD_CMD_BLOCK_STATUS, commandFlags: NBD_CMD_FLAG_REQ_ONE, offsetBytes: 512, lengthBytes: 512 },
]

interface Outcome {
  readonly done: readonly number[]
  readonly failures: ReadonlyMap<number, string>
  readonly data: ReadonlyMap<number, Buffer>
  readonly broken: boolean
}

/** A way for the bytes to reach the parser. */
type Feed = (parser: ReplyParser, stream: Buffer) => void

const byPieces: Feed = (parser, stream) => parser.consume(stream)

const feeds: Record<string, Feed> = {
  'whole': byPieces,
  'byte by byte': (parser, stream) => {
    for (const byte of stream) parser.consume(Buffer.of(byte))
  },
  'in place': (parser, stream) => {
    for (let at = 0; at < stream.length;) {
      const room = parser.room()
      const takenBytes = Math.min(room.length, stream.length - at)
      room.set(stream.subarray(at, at + takenBytes))
      parser.filled(takenBytes)
      at += takenBytes
    }
  },
}

/** What the client makes of a stream of replies. */
function parse(stream: Buffer, replyStyle: ReplyStyle, feed: Feed): Outcome {
  const data = new Map<number, Buffer>()
  const waiting = new Map(requests.map((asked) => [asked.cookie, makeInFlight(asked, replyStyle, data)]))
  const [done, failures] = [[] as number[], new Map<number, string>()]
  const all = [...waiting.values()]
  const parser = new ReplyParser({
    replyStyle,
    find: (cookie) => waiting.get(cookie),
    onDone: ({ cookie }) => {
      waiting.delete(cookie)
      done.push(cookie)
    },
  })
  let broken = false
  try {
    feed(parser, stream)
  } catch (error) {
    if (!isPlatformError(error, 'nbd.protocol_violation')) throw error
    broken = true
  }
  for (const { cookie, failure } of all) if (failure !== undefined) failures.set(cookie, failure.code)
  return { done, failures, data, broken }
}

/** A request as a connection has it in flight; the buffer of a read lies between guards. */
function makeInFlight(asked: JudgedRequest, replyStyle: ReplyStyle, data: Map<number, Buffer>): InFlightRequest {
  const guarded = Buffer.alloc(asked.lengthBytes + 32, 0xee).fill(0, 16, 16 + asked.lengthBytes)
  const into = guarded.subarray(16, 16 + asked.lengthBytes)
  if (asked.command === NBD_CMD_READ) data.set(asked.cookie, guarded)
  const request = {
    ...asked,
    ...(asked.command === NBD_CMD_READ ? { into } : {}),
    signal: new AbortController().signal,
  }
  const contextIds = new Set(replyStyle === 'simple' ? [] : CONTEXT_IDS)
  return new InFlightRequest(asked.cookie, request, {
    replyStyle,
    contextIds,
    callers: new AbortListeners(() => undefined),
  })
}

/** Where client and judge differ; nothing: they agree. */
function compare(outcome: Outcome, verdict: Verdict): string {
  const failures = new Map(
    [...verdict.errors].map(([cookie, number]) => [
      cookie,
      replyError(number, '', { offsetBytes: 0, lengthBytes: 0 }, '').code,
    ]),
  )
  const told = { done: outcome.done, failures: byCookie(outcome.failures), broken: outcome.broken }
  const right = { done: verdict.done, failures: byCookie(failures), broken: verdict.broken }
  if (JSON.stringify(told) !== JSON.stringify(right)) return `${JSON.stringify(told)} is not ${JSON.stringify(right)}`
  for (const [cookie, guarded] of outcome.data) {
    const guards = Buffer.concat([guarded.subarray(0, 16), guarded.subarray(-16)])
    if (!guards.every((byte) => byte === 0xee)) return `read ${cookie} was written beside its buffer`
    const isWhole = outcome.done.includes(cookie) && !outcome.failures.has(cookie)
    const expected = verdict.data.get(cookie) ?? Buffer.alloc(0)
    if (isWhole && Buffer.compare(guarded.subarray(16, -16), expected) !== 0) return `read ${cookie} has other bytes`
  }
  return ''
}

function byCookie(failures: ReadonlyMap<number, string>): [cookie: number, code: string][] {
  return [...failures].toSorted(([left], [right]) => left - right)
}

function styleOf(name: string): ReplyStyle {
  return (['simple', 'structured', 'extended'] as const).find((style) => name.includes(style)) ?? 'structured'
}

function judge(stream: Buffer, style: ReplyStyle, feed: Feed): string {
  return compare(
    parse(stream, style, feed),
    judgeReplies(stream, style, requests, style === 'simple' ? [] : CONTEXT_IDS),
  )
}

describe('replies', () => {
  test.each(corpusOf('replies'))('%s answer every request, however they arrive', (name, bytes) => {
    for (const feed of Object.values(feeds)) {
      const outcome = parse(bytes, styleOf(name), feed)
      expect({ broken: outcome.broken, count: outcome.done.length }).toMatchObject({ broken: false })
      expect(judge(bytes, styleOf(name), feed)).toBe('')
    }
    const answered = parse(bytes, styleOf(name), byPieces).done.length
    expect(answered).toBeGreaterThan(4)
  })

  test(`${iterations * 4} mutations from seed ${seed} mean to the client what they mean to the judge`, () => {
    const numbers = new SeededNumbers(seed)
    const sessions = corpusOf('replies')
    const others = sessions.map(([, bytes]) => bytes)
    const ways = Object.values(feeds)
    for (let iteration = 0; iteration < iterations * 4; iteration += 1) {
      const [name, bytes] = numbers.pick(sessions)
      const stream = mutateSession(bytes, numbers, others)
      const style =
        numbers.below(20) === 0 ? numbers.pick(['simple', 'structured', 'extended'] as const) : styleOf(name)
      const difference = judge(stream, style, numbers.pick(ways))
      const where = `seed ${seed}, iteration ${iteration}, ${style}: ${stream.toString('hex')}`
      expect(difference === '' ? '' : `${difference} at ${where}`).toBe('')
    }
  })
})

test(`${iterations * 8} composed replies from seed ${seed} mean to the client what they mean to the judge`, () => {
  const numbers = new SeededNumbers(seed)
  const ways = Object.values(feeds)
  const reached = { done: 0, failed: 0, broken: 0 }
  for (let iteration = 0; iteration < iterations * 8; iteration += 1) {
    const style = numbers.pick(['simple', 'structured', 'structured', 'extended', 'extended'] as const)
    const stream = composeReplies(numbers, style, requests)
    const outcome = parse(stream, style, numbers.pick(ways))
    const difference = compare(outcome, judgeReplies(stream, style, requests, style === 'simple' ? [] : CONTEXT_IDS))
    const where = `seed ${seed}, iteration ${iteration}, ${style}: ${stream.toString('hex')}`
    expect(difference === '' ? '' : `${difference} at ${where}`).toBe('')
    reached.done += outcome.done.length
    reached.failed += outcome.failures.size
    reached.broken += outcome.broken ? 1 : 0
  }
  // What is composed is neither all right nor all wrong.
  expect(Math.min(reached.done, reached.failed, reached.broken)).toBeGreaterThan(iterations / 2)
})

const endpoint: NbdEndpoint = {
  kind: 'nbd',
  address: { transport: 'unix', path: '/nowhere' },
  exportName: 'disk',
}
const tracked: NbdEndpoint = { ...endpoint, dirtyContext: 'qemu:dirty-bitmap:b0' }
const HANDSHAKE_ENDS: ReadonlySet<string> = new Set([
  'open',
  'nbd.protocol_violation',
  'nbd.export_not_found',
  'nbd.context_not_found',
  'nbd.access_denied',
  'nbd.disconnected',
])

/** How a handshake ends whose server says this, and then nothing more. */
async function shakeHands(said: Buffer, target: NbdEndpoint): Promise<string> {
  const channel = new HandshakeBuffer(() => undefined)
  channel.push(said)
  const work = performHandshake(channel, target, async () => undefined)
  channel.endAfterHeld(new PlatformError('nbd.disconnected', 'that was all'))
  return await endOf(work)
}

/** What a piece of work ended with; a bug in ours is thrown on. */
async function endOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'open'
  } catch (error) {
    if (isPlatformError(error)) return error.code
    throw error
  }
}

describe('handshakes', () => {
  test('of the corpus end as they should', async () => {
    const ends = corpusOf('handshake').map(async ([name, said]) => {
      return [name, await shakeHands(said, endpoint), await shakeHands(said, tracked)]
    })
    // A context nobody asked for breaks the protocol; one that is asked for and missing is a thing of its own.
    expect(await Promise.all(ends)).toEqual([
      ['handshake-extended', 'nbd.protocol_violation', 'open'],
      ['handshake-refused', 'nbd.export_not_found', 'nbd.context_not_found'],
      ['handshake-simple', 'open', 'nbd.context_not_found'],
      ['handshake-structured', 'nbd.protocol_violation', 'open'],
    ])
  })

  test(`${iterations * 4} mutations from seed ${seed} are opened or refused, and nothing else`, async () => {
    const numbers = new SeededNumbers(seed)
    const others = corpusOf('handshake').map(([, said]) => said)
    for (let iteration = 0; iteration < iterations * 4; iteration += 1) {
      const said = mutateSession(numbers.pick(others), numbers, others)
      const end = await shakeHands(said, numbers.pick([endpoint, tracked]))
      expect(
        HANDSHAKE_ENDS.has(end) ? '' : `${end} at seed ${seed}, iteration ${iteration}: ${said.toString('hex')}`,
      ).toBe('')
    }
  })
})

/** A server on a unix socket that says to each client what `next` returns, whatever it hears, and closes. */
async function startTalker(next: () => Buffer) {
  const dir = await mkdtemp(join(tmpdir(), 'nbd-fuzz-'))
  const path = join(dir, 's')
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.resume()
    socket.end(next())
  }).listen(path)
  await once(server, 'listening')
  const dispose = async (): Promise<void> => {
    server.close()
    await rm(dir, { recursive: true, force: true })
  }
  return { address: { transport: 'unix', path } as const, [Symbol.asyncDispose]: dispose }
}

test(`${iterations / 5} whole sessions and lists from seed ${seed}, over sockets, come to an end that is told`, async () => {
  const numbers = new SeededNumbers(seed)
  const list = corpus.get('list') ?? Buffer.alloc(0)
  const sessions = ['extended', 'structured', 'simple'].map((style) => {
    return Buffer.concat(['handshake', 'replies'].map((part) => corpus.get(`${part}-${style}`) ?? Buffer.alloc(0)))
  })
  let said: Buffer = list
  await using talker = await startTalker(() => said)
  expect((await listNbdExports(talker.address, { signal })).exports.map(({ exportName }) => exportName)).toEqual([
    'a',
    'zwei',
  ])
  for (let iteration = 0; iteration < iterations / 5; iteration += 1) {
    const isList = numbers.below(2) === 0
    said = mutateSession(isList ? list : numbers.pick(sessions), numbers, [list, ...sessions])
    const call = { signal, connectTimeoutMs: 10_000, idleTimeoutMs: 10_000 }
    const work = isList ? listNbdExports(talker.address, call) : readAll({ ...tracked, address: talker.address }, call)
    const end = await endOf(work)
    const where = `seed ${seed}, iteration ${iteration}: ${said.toString('hex')}`
    expect(/^(open|nbd\.|source\.read_failed)/.test(end) && end !== 'nbd.timeout' ? '' : `${end} at ${where}`).toBe('')
  }
})

async function readAll(of: NbdEndpoint, call: { readonly signal: AbortSignal; readonly idleTimeoutMs: number }) {
  await using source = await openNbdSource(of, call)
  const lengthBytes = Math.min(source.sizeBytes, 8192)
  await Promise.all([
    source.read(0, new Uint8Array(lengthBytes), call),
    Array.fromAsync(source.extents({ offsetBytes: 0, lengthBytes }, call)),
  ])
}
