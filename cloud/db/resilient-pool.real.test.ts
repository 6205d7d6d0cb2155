import { connect, createServer, type Server, type Socket } from 'node:net'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openResilientPool } from './resilient-pool.ts'
import { quietLogger, startTestDatabase, type TestDatabase } from './testing/test-database.ts'

let server: TestDatabase
beforeAll(async () => {
  server = await startTestDatabase()
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
})

/** A TCP proxy whose connections can be cut at any moment, or held without an answer. */
async function openProxy(target: URL) {
  const pairs = new Set<[Socket, Socket]>()
  let held = false
  const proxy: Server = createServer((incoming) => {
    const outgoing = connect(Number(target.port), target.hostname)
    const pair: [Socket, Socket] = [incoming, outgoing]
    pairs.add(pair)
    for (const socket of pair) socket.on('error', () => undefined)
    incoming.on('data', (bytes) => void (held || outgoing.write(bytes)))
    outgoing.on('data', (bytes) => void incoming.write(bytes))
    incoming.on('close', () => outgoing.destroy())
    outgoing.on('close', () => {
      incoming.destroy()
      pairs.delete(pair)
    })
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  proxy.listen(0, '127.0.0.1', resolve)
  await promise
  const address = proxy.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const url = new URL(target)
  url.port = String(address.port)
  return {
    url: url.href,
    hold: (value: boolean) => {
      held = value
    },
    cut: () => {
      const all = [...pairs]
      for (const [incoming] of all) incoming.resetAndDestroy()
      return all.length
    },
    async [Symbol.asyncDispose]() {
      for (const [incoming] of pairs) incoming.destroy()
      await new Promise((done) => proxy.close(done))
    },
  }
}

const ROUNDS_MAX = 500
const isUnavailable = (error: unknown) => isPlatformError(error, 'database.unavailable')

test('a hundred connections cut in the middle of writes: the pool recovers, and says what was lost', async () => {
  await using proxy = await openProxy(new URL(server.appUrl))
  await using pool = openResilientPool({
    url: proxy.url,
    name: 'test',
    size: 5,
    transactionTimeoutMs: 8_000,
    drainSeconds: 1,
    logger: quietLogger,
  })
  const text = 'x'.repeat(200_000)
  let cut = 0
  let lost = 0
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    if (cut >= 100) break
    const work = Array.from({ length: 5 }, () =>
      pool.transaction(async (tx) => {
        await tx.execute(sql`select pg_sleep(0.01)`)
        // Longer than the socket takes at once, so that writes are queued when it dies.
        await tx.execute(sql`select length(${text})`)
      }),
    )
    const timer = setInterval(() => (cut += proxy.cut()), 7)
    const outcomes = await Promise.allSettled(work)
    clearInterval(timer)
    for (const outcome of outcomes.filter((result) => result.status === 'rejected')) {
      lost += 1
      expect(outcome.reason).toSatisfy(isUnavailable)
    }
  }
  expect(cut).toBeGreaterThan(99)
  expect(lost).toBeGreaterThan(0)
  const after = await Promise.all(
    Array.from({ length: 10 }, () => pool.transaction((tx) => tx.execute(sql`select 1 as one`))),
  )
  expect(after.map((rows) => rows[0]?.['one'])).toEqual(Array.from({ length: 10 }, () => 1))
})

test('a transaction without an answer is given up at its deadline, and the next one works', async () => {
  await using proxy = await openProxy(new URL(server.appUrl))
  await using pool = openResilientPool({
    url: proxy.url,
    name: 'test',
    size: 1,
    transactionTimeoutMs: 300,
    drainSeconds: 1,
    logger: quietLogger,
  })
  await pool.transaction((tx) => tx.execute(sql`select 1`))
  proxy.hold(true)
  await expect(pool.transaction((tx) => tx.execute(sql`select 1`))).rejects.toSatisfy(isUnavailable)
  proxy.hold(false)
  const rows = await pool.transaction((tx) => tx.execute(sql`select 2 as two`))
  expect(rows[0]?.['two']).toBe(2)
})

test('what the work rejects with comes through, and its writes are undone', async () => {
  const { database } = server
  const reason = new Error('no')
  await expect(
    database.withSystem('test', async (tx) => {
      await tx.execute(sql`insert into msp (id, name) values (gen_random_uuid(), 'undone')`)
      throw reason
    }),
  ).rejects.toBe(reason)
  const rows = await database.withSystem('test', (tx) => tx.execute(sql`select from msp where name = 'undone'`))
  expect(rows.length).toBe(0)
})

test('the context of one transaction is gone in the next on the same connection', async () => {
  const { database } = server
  const mspId = '00000000-0000-4000-8000-00000000000a'
  const context = { mspId, customers: 'all' } as const
  const read = sql`select tenant_msp() as msp`
  const [inside] = await database.withTenant(context, (tx) => tx.execute(read))
  expect(inside?.['msp']).toBe(mspId)
  const [after] = await database.withSystem('test', (tx) => tx.execute(read))
  expect(after?.['msp']).toBe(null)
})
