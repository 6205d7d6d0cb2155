import { expect, test } from 'vitest'
import { z } from 'zod'
import { LastingQmp, type LastingQmpOptions } from './lasting-qmp.ts'
import { QmpClient } from './qmp-client.ts'
import { TestLineServer } from './test-line-server.ts'

const options = { signal: AbortSignal.timeout(20_000) }
const Command = z.object({ execute: z.string(), id: z.number() })
const GREETING = '{"QMP": {"version": {}}}\n'
const anything = z.unknown()

/** A monitor that can hang up, and be away. */
class TestMonitor implements AsyncDisposable {
  readonly log: string[] = []
  /** Of the next commands: taken, but the connection is cut before the answer. */
  cuts = 0
  /** Dials that fail before one works again. */
  refusals = 0
  dials = 0
  #server: TestLineServer | undefined
  #hangUp: () => void = () => {}
  #tell: (text: string) => void = () => {}

  static async open(): Promise<TestMonitor> {
    const monitor = new TestMonitor()
    monitor.#server = await TestLineServer.open({
      greeting: GREETING,
      handle: (line, reply, socket) => {
        monitor.#hangUp = () => socket.destroy()
        monitor.#tell = reply
        const { execute, id } = Command.parse(JSON.parse(line))
        if (execute !== 'qmp_capabilities') monitor.log.push(execute)
        if (execute !== 'qmp_capabilities' && monitor.cuts > 0) {
          monitor.cuts -= 1
          socket.destroy()
        } else {
          reply(`{"return": {}, "id": ${id}}\n`)
        }
      },
    })
    return monitor
  }

  async connect(patienceMs: number, more: Partial<LastingQmpOptions> = {}): Promise<LastingQmp> {
    const dial: LastingQmpOptions['dial'] = async (call) => {
      this.dials += 1
      if (this.dials > 1 && this.refusals > 0) {
        this.refusals -= 1
        throw new Error('away')
      }
      return await QmpClient.connect(this.path, call)
    }
    return await LastingQmp.open({ what: 'a VM', dial, patienceMs, isFinal: () => false, ...more }, options)
  }

  get path(): string {
    return this.#server?.path ?? ''
  }

  hangUp(): void {
    this.#hangUp()
  }

  tell(event: string): void {
    this.#tell(`{"event": "${event}", "data": {}}\n`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]()
  }
}

test('queries and repeatable commands outlive cuts; their answers come', async () => {
  await using monitor = await TestMonitor.open()
  await using qmp = await monitor.connect(20_000)
  monitor.cuts = 2
  monitor.refusals = 3
  await qmp.execute('query-status', {}, anything, options)
  expect(monitor.log).toEqual(['query-status', 'query-status', 'query-status'])
  monitor.cuts = 1
  await qmp.execute('block-export-del', {}, anything, { ...options, repeatable: true })
  expect(monitor.log.slice(3)).toEqual(['block-export-del', 'block-export-del'])
  expect(qmp.closed.aborted).toBe(false)
})

test('a command whose answer was lost is never sent twice by itself, and the connection goes on', async () => {
  await using monitor = await TestMonitor.open()
  await using qmp = await monitor.connect(20_000)
  monitor.cuts = 1
  await expect(qmp.execute('transaction', {}, anything, options)).rejects.toMatchObject({ code: 'qemu.disconnected' })
  await qmp.execute('query-jobs', {}, anything, options)
  expect(monitor.log).toEqual(['transaction', 'query-jobs'])
})

test('a command that waits for the connection beyond its own time is never sent', async () => {
  await using monitor = await TestMonitor.open()
  const away = Promise.withResolvers<void>()
  const dial: LastingQmpOptions['dial'] = async (call) => {
    monitor.dials += 1
    if (monitor.dials > 1) await away.promise
    return await QmpClient.connect(monitor.path, call)
  }
  await using qmp = await monitor.connect(20_000, { dial })
  await qmp.execute('query-status', {}, anything, options)
  monitor.hangUp()
  const resumed = new Promise<void>((resolve) => qmp.subscribe({ event: () => {}, resumed: resolve }))
  await expect.poll(() => monitor.dials).toBe(2)
  const late = qmp.execute('transaction', {}, anything, { ...options, timeoutMs: 20 })
  await expect(late).rejects.toMatchObject({ code: 'qemu.timeout' })
  away.resolve()
  await resumed
  await qmp.execute('query-jobs', {}, anything, options)
  expect(monitor.log).toEqual(['query-status', 'query-jobs'])
})

test('listeners hear events of every connection, and that some were missed', async () => {
  await using monitor = await TestMonitor.open()
  await using qmp = await monitor.connect(20_000)
  const heard: string[] = []
  qmp.subscribe({ event: ({ name }) => heard.push(name), resumed: () => heard.push('resumed') })
  monitor.tell('STOP')
  await qmp.execute('query-status', {}, anything, options)
  monitor.hangUp()
  await expect.poll(() => heard).toContain('resumed')
  await qmp.execute('query-status', {}, anything, options)
  monitor.tell('RESUME')
  await expect.poll(() => heard).toEqual(['STOP', 'resumed', 'RESUME'])
})

test('away for longer than the patience: closed, everybody is told', async () => {
  await using monitor = await TestMonitor.open()
  await using qmp = await monitor.connect(50)
  monitor.refusals = Number.POSITIVE_INFINITY
  await qmp.execute('query-status', {}, anything, options)
  monitor.hangUp()
  const waiting = qmp.execute('query-status', {}, anything, options)
  await expect(waiting).rejects.toMatchObject({ code: 'qemu.disconnected', details: { patienceMs: 50 } })
  expect(qmp.closed.reason).toMatchObject({ code: 'qemu.disconnected' })
})

test('a QEMU that has ended is not dialled again', async () => {
  await using monitor = await TestMonitor.open()
  await using qmp = await monitor.connect(20_000, { isFinal: () => true })
  await qmp.execute('query-status', {}, anything, options)
  monitor.refusals = 1
  monitor.hangUp()
  await expect.poll(() => qmp.closed.aborted).toBe(true)
  expect(monitor.dials).toBe(2)
})

test('closing it ends the dialling', async () => {
  await using monitor = await TestMonitor.open()
  const qmp = await monitor.connect(20_000)
  await qmp.execute('query-status', {}, anything, options)
  monitor.refusals = Number.POSITIVE_INFINITY
  monitor.hangUp()
  const waiting = qmp.execute('query-status', {}, anything, options)
  await qmp[Symbol.asyncDispose]()
  await expect(waiting).rejects.toMatchObject({ code: 'qemu.disconnected' })
})
