import { setImmediate as nextTurn } from 'node:timers/promises'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { describe, expect, test } from 'vitest'
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_FUA } from '../wire/nbd-constants.ts'
import type { ConnectionGroupOptions, NbdReconnected } from './connection-group.ts'
import { makeSteppedClock, SimulatedExport } from './simulated-export.ts'
import {
  answering,
  BLOCK_BYTES,
  flush,
  openSimulatedGroup,
  read,
  SIZE_BYTES,
  stepping,
  write,
} from './simulated-group.ts'
import { WriteLedger } from './write-ledger.ts'

const signal = AbortSignal.timeout(60_000)

describe('a sink of several connections', () => {
  test('with nothing unflushed a sink goes on, and otherwise says so once the server answers again', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server, { ledger: new WriteLedger(), connectionsMax: () => 1 })
    await answering(server, group.request(write(0, 1)))
    await answering(server, group.request(flush))
    await answering(server, group.request(write(1, 2, NBD_CMD_FLAG_FUA)))
    server.crash(() => false)
    await answering(server, group.request(write(2, 3)))
    server.refusals = 2
    server.crash(() => false)
    const uncertain = { code: 'nbd.writes_uncertain', cause: { code: 'nbd.disconnected' } }
    await expect(group.request(flush)).rejects.toMatchObject(uncertain)
    await expect(group.request(write(3, 4))).rejects.toMatchObject(uncertain)
    expect(server.dialCount).toBe(5)
    expect([server.durable[0], server.durable[BLOCK_BYTES]]).toEqual([1, 2])
  })

  test('a write in flight is uncertain too, and a flush that was cut covers nothing', async () => {
    for (const cutWhile of [write(0, 1), flush]) {
      const server = new SimulatedExport(SIZE_BYTES)
      await using group = await openSimulatedGroup(server, { ledger: new WriteLedger(), connectionsMax: () => 1 })
      if (cutWhile === flush) await answering(server, group.request(write(0, 1)))
      const request = group.request(cutWhile)
      await nextTurn()
      for (const connection of server.connections) connection.cut()
      await expect(request).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
    }
  })

  test('of several connections of a sink, losing one with writes on any is uncertain', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server, { ledger: new WriteLedger(), inFlightMax: 1 })
    const writes = Promise.allSettled([
      group.request(write(0, 1)),
      group.request(write(1, 2)),
      group.request(write(2, 3)),
    ])
    await nextTurn()
    await nextTurn()
    expect(server.connections.size).toBeGreaterThan(1)
    const [first] = server.connections
    first?.cut()
    await expect(group.request(flush)).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
    for (const { pending } of server.connections) expect(pending.length).toBeLessThan(4)
    for (const connection of server.connections) connection.cut()
    await writes
  })
})

describe('an outage', () => {
  test('is bounded by attempts, told to everybody that waits and to all that come later', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server, { reconnect: { forMs: 1_000_000, attemptsMax: 5 } })
    server.refusals = 100
    server.crash(() => true)
    const waiting = [group.request(read(0)), group.request(read(1))]
    for (const request of waiting) await expect(request).rejects.toMatchObject({ code: 'nbd.disconnected' })
    await expect(group.request(read(2))).rejects.toMatchObject({ code: 'nbd.disconnected' })
    expect(server.dialCount).toBe(6)
  })

  test('is bounded by time, with delays that grow up to 5 s', async () => {
    const clock = makeSteppedClock()
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server, {
      clock,
      random: () => 1,
      reconnect: { forMs: 30_000, attemptsMax: 1000 },
    })
    server.refusals = 1000
    server.crash(() => true)
    await expect(group.request(read(0))).rejects.toMatchObject({ code: 'nbd.disconnected' })
    expect(clock.nowMs).toBe(100 + 200 + 400 + 800 + 1600 + 3200 + 5 * 5000)
  })

  test('that ends is told with its cause, and the next one has all its time again', async () => {
    const events: NbdReconnected[] = []
    const server = new SimulatedExport(SIZE_BYTES)
    const reconnect = { forMs: 1_000_000, attemptsMax: 4 }
    await using group = await openSimulatedGroup(server, { reconnect, onReconnect: (event) => events.push(event) })
    for (let outage = 0; outage < 3; outage += 1) {
      server.refusals = 3
      for (const connection of server.connections)
        connection.cut(new PlatformError('nbd.timeout', 'simulated: silence'))
      await answering(server, group.request(read(outage)))
    }
    expect(events.map(({ attempts, cause }) => [attempts, cause.code])).toEqual(
      Array.from({ length: 3 }, () => [4, 'nbd.timeout']),
    )
  })

  test('is not over before something was answered: a request that kills the server each time ends it', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server, { reconnect: { forMs: 1_000_000, attemptsMax: 7 } })
    const deadly = stepping(group.request(read(0)), () => {
      if (server.waitingCount > 0) server.crash(() => true)
    })
    await expect(deadly).rejects.toMatchObject({ code: 'nbd.disconnected' })
    expect(server.dialCount).toBe(8)
  })

  test('does not hold an aborted caller', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server, { clock: { ...makeSteppedClock(), sleep: sleepForEver } })
    server.crash(() => true)
    const control = new AbortController()
    const impatient = group.request({ ...read(0), signal: control.signal })
    await nextTurn()
    control.abort(new Error('enough'))
    await expect(impatient).rejects.toThrow('enough')
  })

  test('ends with what the server says, where that will not change by waiting', async () => {
    for (const code of [
      'nbd.access_denied',
      'nbd.tls_failed',
      'nbd.protocol_violation',
      'nbd.context_not_found',
    ] as const) {
      const server = new SimulatedExport(SIZE_BYTES)
      let dials = 0
      await using group = await openSimulatedGroup(server, {
        dial: async (call) => {
          dials += 1
          if (dials > 1) throw new PlatformError(code, 'simulated')
          return await server.dial(call)
        },
      })
      server.crash(() => true)
      await expect(group.request(read(0))).rejects.toMatchObject({ code })
      expect(dials).toBe(2)
    }
  })

  test('is not waited for where the endpoint says so', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server, { reconnect: { forMs: 0, attemptsMax: 0 } })
    const reading = group.request(read(0))
    await nextTurn()
    server.crash(() => true)
    await expect(reading).rejects.toMatchObject({ code: 'nbd.disconnected', message: 'simulated: cut' })
    await expect(group.request(read(0))).rejects.toMatchObject({ code: 'nbd.disconnected' })
    expect(server.dialCount).toBe(1)
  })
})

describe('another disk under the same name', () => {
  const changes = {
    'another size': { sizeBytes: SIZE_BYTES * 2 },
    'other abilities': { flags: 1 },
    'other blocks': { blockSizes: { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 65_536 } },
    'no contexts any more': { contextIds: new Map<string, number>() },
  }
  test.each(Object.entries(changes))('with %s is nbd.export_changed', async (_, change) => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server)
    server.crash(() => true)
    server.session = { ...server.session, ...change }
    await expect(group.request(read(0))).rejects.toMatchObject({ code: 'nbd.export_changed' })
    await expect(group.request(read(1))).rejects.toMatchObject({ code: 'nbd.export_changed' })
  })

  test('ids of contexts may differ: answers come under those of the first connection', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server)
    server.crash(() => true)
    server.session = { ...server.session, contextIds: new Map([['base:allocation', 9]]) }
    const runs = [{ lengthBytes: 64, flags: 3 }]
    const asking = group.request({ command: NBD_CMD_BLOCK_STATUS, offsetBytes: 0, lengthBytes: 64, signal })
    while (server.waitingCount === 0) await nextTurn()
    for (const { pending } of server.connections) pending.splice(0)[0]?.resolve(new Map([[9, runs]]))
    expect(await asking).toEqual(new Map([[1, runs]]))
  })
})

describe('several connections', () => {
  test('are opened only when those before are busy, up to the maximum, and share the bytes', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server)
    await answering(server, group.request(read(0)))
    expect(server.dialCount).toBe(1)
    const reads: Promise<unknown>[] = []
    for (let count = 0; count < 12; count += 1) {
      reads.push(group.request(read(count)))
      await nextTurn()
    }
    expect(server.dialCount).toBe(3)
    expect([...server.connections].map(({ pending }) => pending.length)).toEqual([2, 2, 2])
    await answering(server, Promise.all(reads))
  })

  test('a server that has enough of us is asked again after a while, and more and more seldom', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    const naps: { readonly milliseconds: number; readonly wake: () => void }[] = []
    const sleep: Clock['sleep'] = async (milliseconds) => {
      await new Promise<void>((wake) => naps.push({ milliseconds, wake }))
    }
    await using group = await openSimulatedGroup(server, { clock: { ...makeSteppedClock(), sleep }, random: () => 1 })
    const reads: Promise<unknown>[] = []
    const askMore = async (): Promise<void> => {
      for (let block = 0; block < 12; block += 1) reads.push(group.request(read(block)))
      for (let turn = 0; turn < 5; turn += 1) await nextTurn()
    }
    server.refusals = 2
    await askMore()
    expect(server.dialCount).toBe(2)
    await askMore()
    expect(server.dialCount).toBe(2)
    naps[0]?.wake()
    await askMore()
    expect(server.dialCount).toBe(3)
    naps[1]?.wake()
    await askMore()
    expect(server.connections.size).toBe(3)
    expect(naps.map(({ milliseconds }) => milliseconds)).toEqual([10_000, 20_000])
    await answering(server, Promise.all(reads))
  })

  test('a server that has enough of us keeps nobody from closing', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    const group = await openSimulatedGroup(server, { clock: { ...makeSteppedClock(), sleep: sleepForEver } })
    server.refusals = 1
    const ends = Promise.allSettled(Array.from({ length: 12 }, async (_, block) => await group.request(read(block))))
    for (let turn = 0; turn < 5; turn += 1) await nextTurn()
    await group[Symbol.asyncDispose]()
    for (const end of await ends) expect(end).toMatchObject({ reason: { code: 'nbd.disconnected' } })
  })

  test('one that breaks the protocol ends all', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    await using group = await openSimulatedGroup(server)
    const reading = group.request(read(0))
    await nextTurn()
    for (const connection of server.connections)
      connection.cut(new PlatformError('nbd.protocol_violation', 'simulated'))
    await expect(reading).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
    await expect(group.request(read(0))).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
    expect(server.dialCount).toBe(1)
  })

  test('closing ends what is in flight and what is dialled', async () => {
    const server = new SimulatedExport(SIZE_BYTES)
    const group = await openSimulatedGroup(server)
    const reads = Array.from({ length: 5 }, async (_, block) => {
      await group.request(read(block))
    })
    const ends = Promise.allSettled(reads)
    await group[Symbol.asyncDispose]()
    for (const end of await ends) expect(end).toMatchObject({ reason: { code: 'nbd.disconnected' } })
    expect(server.connections.size).toBe(0)
    await expect(group.request(read(0))).rejects.toMatchObject({ code: 'nbd.disconnected' })
  })
})

/** Of a clock that stands still. */
async function sleepForEver(_: number, call: { signal: AbortSignal }): Promise<void> {
  await new Promise((_resolve, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason)))
}

async function openAfter(failures: number, error: PlatformError, more: Partial<ConnectionGroupOptions>) {
  const server = new SimulatedExport(SIZE_BYTES)
  let dials = 0
  const dial: ConnectionGroupOptions['dial'] = async (call) => {
    dials += 1
    if (dials <= failures) throw error
    return await server.dial(call)
  }
  const opening = openSimulatedGroup(server, { dial, ...more })
  const outcome = await opening.then(
    async (group) => {
      await group[Symbol.asyncDispose]()
      return 'open'
    },
    (rejection: unknown) => (isPlatformError(rejection) ? rejection.code : 'another error'),
  )
  return { outcome, dials }
}

describe('the first connection', () => {
  const away = new PlatformError('nbd.disconnected', 'nobody listens')
  test('is dialled once, unless its way may be cut just now', async () => {
    expect(await openAfter(3, away, {})).toEqual({ outcome: 'nbd.disconnected', dials: 1 })
    expect(await openAfter(3, away, { patientFirst: true })).toEqual({ outcome: 'open', dials: 4 })
  })

  test('is not dialled for longer than a lost one is, nor when the server has answered', async () => {
    const short = { patientFirst: true, reconnect: { forMs: 1_000_000, attemptsMax: 2 } }
    expect(await openAfter(9, away, short)).toEqual({ outcome: 'nbd.disconnected', dials: 3 })
    const refused = new PlatformError('nbd.access_denied', 'no')
    expect(await openAfter(9, refused, { patientFirst: true })).toEqual({ outcome: 'nbd.access_denied', dials: 1 })
  })
})
