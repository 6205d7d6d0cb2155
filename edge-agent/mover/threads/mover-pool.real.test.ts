import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { lazyNbdSink, lazyNbdSource } from '../../nbd/client/lazy-nbd-disk.ts'
import { makeTestDir, type RealServer, startNbdkit, startQemuNbd } from '../../nbd/client/real-nbd-server.ts'
import { ChunkIds } from '../chunk-ids.ts'
import { createMover } from '../create-mover.ts'
import type { CopyProgress } from '../mover.ts'
import { PauseSwitch } from '../pause-switch.ts'
import { SharedThrottle } from '../rate/shared-throttle.ts'
import { startBreakingRelay } from '../testing/breaking-relay.ts'
import type { MoverTask } from './mover-task.ts'
import { MoverThread } from './mover-thread.ts'

const MIB = 1024 * 1024
const CHUNK_BYTES = 256 * 1024
const signal = AbortSignal.timeout(300_000)
const call = { signal }
const idKey = new Uint8Array(32).fill(3)
const dyingWorker = new URL('../testing/dying-worker.ts', import.meta.url)

/** Serves the files of a folder, each under its name. */
async function serveDir(
  dir: string,
  { options = [], settings = [] }: { readonly options?: readonly string[]; readonly settings?: readonly string[] } = {},
): Promise<RealServer> {
  return await startNbdkit([...options, 'file', `dir=${dir}`, ...settings])
}

function endpointOf(server: RealServer, exportName: string) {
  return { ...server.endpoint, exportName }
}

describe('a pool of mover threads', () => {
  test('runs 60 copies at once on two threads in 20 MiB, and every target gets its bytes', async () => {
    await using tmp = await makeTestDir()
    const sizeBytes = 4 * MIB
    const content = randomBytes(sizeBytes)
    await writeFile(join(tmp.dir, 'source'), content)
    const names = Array.from({ length: 60 }, (_, index) => `target-${index}`)
    for (const name of names) {
      await writeFile(join(tmp.dir, name), '')
      await truncate(join(tmp.dir, name), sizeBytes)
    }
    await using server = await serveDir(tmp.dir, { options: ['--threads=4'] })
    await using mover = createMover({ threadsMax: 2, memoryBytes: 20 * MIB })
    const pause = new PauseSwitch()
    pause.pause()
    const begun = new Set<string>()
    const ends = await Promise.all(
      names.map(async (name, index) => {
        await using source = lazyNbdSource({ endpoint: endpointOf(server, 'source'), sizeBytes })
        await using sink = lazyNbdSink({ endpoint: endpointOf(server, name), sizeBytes })
        const owner = { tenantId: index < 50 ? 'large' : 'small', jobId: `job-${index % 20}` }
        const onProgress = (): void => {
          begun.add(name)
          // Only when the last of them has begun does any of them go on.
          if (begun.size === names.length) pause.resume()
        }
        return await mover.copyDisk({ source, sink, owner, sinkIsZero: true }, { signal, onProgress, pause })
      }),
    )
    expect(ends.every(({ doneBytes }) => doneBytes === sizeBytes)).toBe(true)
    for (const name of names) expect(Buffer.compare(await readFile(join(tmp.dir, name)), content)).toBe(0)
  })

  test('a thread that dies is replaced: its copies go on where they were, backups too, others notice nothing', async () => {
    await using tmp = await makeTestDir()
    const sizeBytes = 24 * MIB
    const content = randomBytes(sizeBytes)
    await writeFile(join(tmp.dir, 'source'), content)
    for (const name of ['disk', 'restored', 'backup', 'other']) {
      await writeFile(join(tmp.dir, name), '')
      await truncate(join(tmp.dir, name), sizeBytes)
    }
    const serve = async (name: string) => await startQemuNbd(join(tmp.dir, name), ['--format=raw'])
    await using from = await serve('source')
    await using servers = new AsyncDisposableStack()
    const sinks = new Map<string, NbdEndpoint>()
    for (const name of ['disk', 'restored', 'backup', 'other']) {
      sinks.set(name, servers.use(await serve(name)).endpoint)
    }
    const source = lazyNbdSource({ endpoint: from.endpoint, sizeBytes })
    const sinkOf = (name: string) => {
      const endpoint = sinks.get(name)
      assert(endpoint !== undefined)
      return lazyNbdSink({ endpoint, sizeBytes })
    }
    const chunkIds = new ChunkIds(sizeBytes, CHUNK_BYTES)
    {
      await using calm = createMover({ threadsMax: 1 })
      await calm.copyBackup({ mode: 'full', source, sink: sinkOf('disk'), chunkIds, idKey }, call)
    }
    await using mover = createMover({ threadsMax: 2, workerUrl: dyingWorker })
    const pause = new PauseSwitch()
    const progress: CopyProgress[] = []
    const kill = ({ checkpoint, rewinds }: CopyProgress): void => {
      if (checkpoint.offsetBytes > 0 && rewinds === 0) pause.pause()
      if (rewinds > 0) pause.resume()
    }
    const onProgress = (now: CopyProgress): void => {
      progress.push(now)
      kill(now)
    }
    const throttles = [SharedThrottle.at(20 * MIB)]
    const slow = { checkpointEveryBytes: 2 * MIB, throttles }
    const disk = mover.copyDisk({ source, sink: sinkOf('disk'), ...slow }, { signal, onProgress, pause })
    const other = mover.copyDisk({ source, sink: sinkOf('other'), ...slow }, call)
    const restore = mover.copyRestore({ source, sink: sinkOf('restored'), chunkIds, idKey, ...slow }, call)
    const spare = mover.copyDisk({ source, throttles }, call)
    const newIds = new ChunkIds(sizeBytes, CHUNK_BYTES)
    const task = { mode: 'full', source, sink: sinkOf('backup'), chunkIds: newIds, idKey, ...slow } as const
    const backup = mover.copyBackup(task, call)
    await expect(disk).resolves.toMatchObject({ rewinds: 1, doneBytes: sizeBytes })
    await expect(restore).resolves.toMatchObject({ rewinds: 1, doneBytes: sizeBytes })
    await expect(backup).resolves.toMatchObject({ rewinds: 1, doneBytes: sizeBytes })
    expect(Buffer.compare(newIds.bytes, chunkIds.bytes)).toBe(0)
    await expect(other).resolves.toMatchObject({ rewinds: 0 })
    await expect(spare).resolves.toMatchObject({ rewinds: 0, writtenBytes: 0 })
    for (const name of sinks.keys()) {
      expect(Buffer.compare(await readFile(join(tmp.dir, name)), content)).toBe(0)
    }
    const reread = progress.at(-1)?.readBytes ?? 0
    expect(reread).toBeGreaterThanOrEqual(sizeBytes)
    expect(reread).toBeLessThan(2 * sizeBytes)
  })

  test('a copy whose connection to a local server broke opens it anew and goes on, whichever side it was', async () => {
    await using tmp = await makeTestDir()
    const sizeBytes = 24 * MIB
    const content = randomBytes(sizeBytes)
    await writeFile(join(tmp.dir, 'source'), content)
    await using from = await serveDir(tmp.dir)
    await using mover = createMover({ threadsMax: 1 })
    for (const broken of ['source', 'sink'] as const) {
      const name = `target-of-broken-${broken}`
      await writeFile(join(tmp.dir, name), '')
      await truncate(join(tmp.dir, name), sizeBytes)
      await using to = await startQemuNbd(join(tmp.dir, name), ['--format=raw'])
      const endpoints = { source: endpointOf(from, 'source'), sink: to.endpoint }
      await using relay = await startBreakingRelay(endpoints[broken])
      const through = { ...endpoints, [broken]: relay.endpoint }
      const source = lazyNbdSource({ endpoint: through.source, sizeBytes })
      const sink = lazyNbdSink({ endpoint: through.sink, sizeBytes })
      const chunkIds = new ChunkIds(sizeBytes, CHUNK_BYTES)
      const onProgress = ({ checkpoint, rewinds }: CopyProgress): void => {
        if (rewinds === 0 && checkpoint.offsetBytes > 0) relay.breakAll()
      }
      const throttles = [SharedThrottle.at(40 * MIB)]
      const task = { mode: 'full', source, sink, chunkIds, idKey, checkpointEveryBytes: 2 * MIB, throttles } as const
      const progress = await mover.copyBackup(task, { signal, onProgress })
      expect(progress).toMatchObject({ rewinds: 1, doneBytes: sizeBytes })
      expect(progress.readBytes).toBeLessThan(2 * sizeBytes)
      expect(Buffer.compare(await readFile(join(tmp.dir, name)), content)).toBe(0)
      await mover.copyRestore({ source: lazyNbdSource({ endpoint: to.endpoint, sizeBytes }), chunkIds, idKey }, call)
    }
  })

  test('a copy whose threads die again and again is given up', async () => {
    await using tmp = await makeTestDir()
    await writeFile(join(tmp.dir, 'source'), randomBytes(8 * MIB))
    await using server = await startQemuNbd(join(tmp.dir, 'source'), ['--format=raw'])
    await using mover = createMover({ threadsMax: 1, workerUrl: dyingWorker })
    const source = lazyNbdSource({ endpoint: server.endpoint, sizeBytes: 8 * MIB })
    const pause = new PauseSwitch()
    const seen = new Set<number>()
    const onProgress = ({ rewinds }: CopyProgress): void => {
      seen.add(rewinds)
      pause.resume()
      pause.pause()
    }
    const throttles = [SharedThrottle.at(4 * MIB)]
    const copying = mover.copyDisk({ source, throttles }, { signal, onProgress, pause })
    await expect(copying).rejects.toMatchObject({ code: 'mover.thread_ended' })
    expect(Math.max(...seen)).toBe(5)
  })

  test('a thread that is ending takes no more copies, long before it is gone', async () => {
    await using server = await startNbdkit(['--filter=delay', 'pattern', String(8 * MIB), 'rdelay=50ms'])
    const { endpoint } = server
    const workerUrl = new URL('./mover-worker.ts', import.meta.url)
    const thread = new MoverThread({ workerUrl, memory: new SharedArrayBuffer(8 * MIB), openers: {} })
    const task: MoverTask = { kind: 'disk', source: endpoint, throttles: [] }
    const running = thread.copy(task, call)
    const ending = thread.terminate()
    expect(thread.isEnding).toBe(true)
    await expect(thread.copy(task, call)).rejects.toMatchObject({ code: 'mover.thread_ended' })
    await expect(running).rejects.toMatchObject({ code: 'mover.thread_ended' })
    await ending
  })

  test('a paused copy in a thread asks for nothing until it may go on', async () => {
    await using tmp = await makeTestDir()
    const sizeBytes = 16 * MIB
    const content = randomBytes(sizeBytes)
    await writeFile(join(tmp.dir, 'source'), content)
    await writeFile(join(tmp.dir, 'target'), '')
    await truncate(join(tmp.dir, 'target'), sizeBytes)
    const log = join(tmp.dir, 'log')
    const settings = [`logfile=${log}`, 'rdelay=200ms']
    await using server = await serveDir(tmp.dir, { options: ['--filter=log', '--filter=delay'], settings })
    await using mover = createMover({ threadsMax: 1 })
    const source = lazyNbdSource({ endpoint: endpointOf(server, 'source'), sizeBytes })
    const sink = lazyNbdSink({ endpoint: endpointOf(server, 'target'), sizeBytes })
    const pause = new PauseSwitch()
    const paused = Promise.withResolvers<CopyProgress>()
    const onProgress = (progress: CopyProgress): void => {
      if (progress.doneBytes > 0 && progress.checkpoint.offsetBytes === 0) pause.pause()
      if (progress.state === 'paused') paused.resolve(progress)
    }
    const copying = mover.copyDisk({ source, sink, bufferBytesMax: 2 * MIB }, { signal, onProgress, pause })
    const then = await Promise.race([paused.promise, copying])
    expect(then.checkpoint.doneBytes).toBe(then.doneBytes)
    const before = await readFile(log, 'utf8')
    await using next = lazyNbdSource({ endpoint: endpointOf(server, 'source'), sizeBytes })
    await mover.copyDisk({ source: next, bufferBytesMax: 2 * MIB }, call)
    const after = await readFile(log, 'utf8')
    expect(before).toContain('Write')
    expect(after.slice(before.length)).toContain('Read')
    expect(after.slice(before.length)).not.toMatch(/Write|Flush|Zero/)
    pause.resume()
    await expect(copying).resolves.toMatchObject({ doneBytes: sizeBytes, rewinds: 0, state: 'running' })
    expect(Buffer.compare(await readFile(join(tmp.dir, 'target')), content)).toBe(0)
  })
})
