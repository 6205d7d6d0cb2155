import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { RawNbdClient } from './raw-nbd-client.ts'
import { judgeSession } from './session-judge.ts'
import { mutateSession, SeededNumbers } from './session-mutator.ts'
import { openTemporaryNbdServer, type TemporaryNbdServer } from './temporary-nbd-server.ts'

const SIZE_BYTES = 65_536
const MEMORY_MAX_BYTES = 64 * 1024 * 1024
/** Both can be given, to look longer or to see a failure again. */
const seed = Number(process.env['NBD_FUZZ_SEED'] ?? 20_261_125)
const iterations = Number(process.env['NBD_FUZZ_ITERATIONS'] ?? 1500)

const corpusDir = join(import.meta.dirname, 'corpus')
const corpus = new Map(
  readdirSync(corpusDir).map((name) => {
    const text = readFileSync(join(corpusDir, name), 'utf8').replaceAll(/#.*/g, '')
    return [name, Buffer.from(text.replaceAll(/\s/g, ''), 'hex')]
  }),
)

const first = Uint8Array.from({ length: SIZE_BYTES }, (_, at) => (at < 40_000 ? 1 + (at % 250) : 0))
const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES, content: first })
let server: TemporaryNbdServer

beforeAll(async () => {
  const one = { name: 'disk', description: 'a disk', source: disk, sink: disk, dirtyBitmap: 'b0' }
  server = await openTemporaryNbdServer([one], { memoryMaxBytes: MEMORY_MAX_BYTES })
})

afterAll(async () => {
  await server[Symbol.asyncDispose]()
})

/** Sends all of it, in as many pieces, says that nothing more comes, and resolves with all that was answered. */
async function play(session: Buffer, pieces: number): Promise<Buffer> {
  await using client = await RawNbdClient.connect(server.socketPath)
  const pieceBytes = Math.max(1, Math.ceil(session.length / pieces))
  for (let at = 0; at < session.length; at += pieceBytes) {
    client.send(session.subarray(at, at + pieceBytes))
    if (pieces > 1) await new Promise<void>((resolve) => setImmediate(resolve))
  }
  client.socket.end()
  return await client.receiveToEnd()
}

async function judge(session: Buffer, pieces = 1): Promise<{ wrong: string | undefined; unanswered: number }> {
  disk.bytes.set(first)
  const heard = await play(session, pieces)
  const { wrong, mayChange, unanswered } = judgeSession(session, heard, { sizeBytes: SIZE_BYTES })
  const isUntouched = mayChange || Buffer.compare(disk.bytes, first) === 0
  return { wrong: wrong ?? (isUntouched ? undefined : 'a change that nobody was allowed to ask for'), unanswered }
}

describe('the corpus', () => {
  test.each([...corpus.keys()])('%s is a session that is answered in full', async (name) => {
    const session = corpus.get(name) ?? Buffer.alloc(0)
    for (const pieces of [1, session.length]) {
      expect(await judge(session, pieces)).toEqual({ wrong: undefined, unanswered: 0 })
    }
  })
})

test(
  `${iterations} mutated sessions from seed ${seed} are never answered wrongly, and each comes to an end`,
  { timeout: 30_000 + iterations * 50 },
  async () => {
    const numbers = new SeededNumbers(seed)
    const sessions = [...corpus.values()]
    for (let iteration = 0; iteration < iterations; iteration += 1) {
      const session = mutateSession(numbers.pick(sessions), numbers, sessions)
      const { wrong } = await judge(session, numbers.below(5) === 0 ? 3 : 1)
      const where = `seed ${seed}, iteration ${iteration}: ${session.toString('hex')}`
      expect(wrong === undefined ? '' : `${wrong} at ${where}`).toBe('')
      expect(server.server.heldBytes).toBeLessThanOrEqual(MEMORY_MAX_BYTES)
    }
    while (server.server.connectionCount > 0) await new Promise<void>((resolve) => setImmediate(resolve))
    expect(server.server.heldBytes).toBe(0)
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(512 * 1024 * 1024)
  },
)
