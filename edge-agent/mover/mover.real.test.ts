import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { lazyNbdSink, lazyNbdSource } from '../nbd/client/lazy-nbd-disk.ts'
import { type NbdSink, openNbdSink } from '../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../nbd/client/nbd-source.ts'
import { makeTestDir, qemuImg, type RealServer, startNbdkit, startQemuNbd } from '../nbd/client/real-nbd-server.ts'
import { ChunkIds } from './chunk-ids.ts'
import { createMover } from './create-mover.ts'
import type { CopyOptions, CopyProgress, Mover } from './mover.ts'
import { PauseSwitch } from './pause-switch.ts'
import { SharedThrottle } from './rate/shared-throttle.ts'
import { chunkIdsOf } from './testing/chunk-ids-of.ts'

const MIB = 1024 * 1024
const DISK_BYTES = 32 * MIB
const CHUNK_BYTES = 256 * 1024
const signal = AbortSignal.timeout(300_000)
const call = { signal }
const idKey = new Uint8Array(32).fill(3)

interface Change {
  readonly kind: 'write' | 'zero' | 'trim'
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly fill: number
}

const anyChange: fc.Arbitrary<Change> = fc
  .record({
    kind: fc.constantFrom('write' as const, 'write' as const, 'zero' as const, 'trim' as const),
    offsetBytes: fc.nat(DISK_BYTES / 512 - 1).map((sector) => sector * 512),
    lengthBytes: fc.integer({ min: 1, max: 2048 }).map((sectors) => sectors * 512),
    fill: fc.integer({ min: 1, max: 255 }),
  })
  .map((any) => ({ ...any, lengthBytes: Math.min(any.lengthBytes, DISK_BYTES - any.offsetBytes) }))

async function apply(sink: NbdSink, { kind, offsetBytes, lengthBytes, fill }: Change): Promise<void> {
  if (kind === 'write') await sink.write(offsetBytes, new Uint8Array(lengthBytes).fill(fill), call)
  else if (kind === 'zero') await sink.writeZeroes(offsetBytes, lengthBytes, call)
  else await sink.trim(offsetBytes, lengthBytes, call)
}

async function readAll({ endpoint }: RealServer): Promise<Uint8Array> {
  await using source = await openNbdSource(endpoint, call)
  const bytes = new Uint8Array(source.sizeBytes)
  await source.read(0, bytes, call)
  return bytes
}

/** One more layer of a chain: what changed on the source since the bitmap `before`, and a new bitmap for the next. */
class Chain {
  readonly #dir: string
  readonly #mover: Mover
  readonly #source: string
  readonly chunkIds = new ChunkIds(DISK_BYTES, CHUNK_BYTES)
  #count = 0

  constructor(dir: string, mover: Mover) {
    this.#dir = dir
    this.#mover = mover
    this.#source = join(dir, 'source.qcow2')
  }

  async create(): Promise<void> {
    await qemuImg('create', '-q', '-f', 'qcow2', this.#source, String(DISK_BYTES))
  }

  async change(changes: readonly Change[]): Promise<void> {
    await using server = await startQemuNbd(this.#source, ['--format=qcow2'])
    await using sink = await openNbdSink(server.endpoint, call)
    for (const change of changes) await apply(sink, change)
    await sink.flush(call)
  }

  /** @returns what the source reads as, and what the new restore point does */
  async backUp(
    options: CopyOptions & { readonly throttles?: readonly SharedThrottle[] } = call,
  ): Promise<{ source: Uint8Array; point: Uint8Array; progress: CopyProgress }> {
    const index = this.#count
    this.#count += 1
    const [layer, parent] = [this.#layer(index), this.#layer(index - 1)]
    const isFull = index === 0
    const below = isFull ? [] : ['-b', parent, '-F', 'qcow2']
    await qemuImg('create', '-q', '-f', 'qcow2', ...below, layer, String(DISK_BYTES))
    const bitmap = isFull ? [] : [`--bitmap=b${index - 1}`]
    await using frozen = await startQemuNbd(this.#source, ['--format=qcow2', '--read-only', ...bitmap])
    await using written = await startQemuNbd(layer, ['--format=qcow2'])
    await using base = isFull ? undefined : await startQemuNbd(parent, ['--format=qcow2', '--read-only'])
    const dirty = isFull ? {} : { dirtyContext: `qemu:dirty-bitmap:b${index - 1}` }
    await using source = lazyNbdSource({ endpoint: { ...frozen.endpoint, ...dirty }, sizeBytes: DISK_BYTES })
    await using sink = lazyNbdSink({ endpoint: written.endpoint, sizeBytes: DISK_BYTES })
    await using baseDisk = base === undefined ? undefined : await openNbdSource(base.endpoint, call)
    const progress = await this.#mover.copyBackup(
      {
        mode: isFull ? 'full' : 'incremental',
        source,
        sink,
        ...(baseDisk === undefined ? {} : { base: baseDisk }),
        chunkIds: this.chunkIds,
        idKey,
        checkpointEveryBytes: 2 * MIB,
        throttles: options.throttles ?? [],
      },
      options,
    )
    const bytes = { source: await readAll(frozen), point: await readAll(written), progress }
    await frozen[Symbol.asyncDispose]()
    await qemuImg('bitmap', '--add', '-g', '65536', this.#source, `b${index}`)
    return bytes
  }

  /** The newest restore point, checked and restored to a new disk. */
  async restore(): Promise<Uint8Array> {
    const target = join(this.#dir, `restored-${this.#count}.qcow2`)
    await qemuImg('create', '-q', '-f', 'qcow2', target, String(DISK_BYTES))
    await using server = await startQemuNbd(this.#layer(this.#count - 1), ['--format=qcow2', '--read-only'])
    await using written = await startQemuNbd(target, ['--format=qcow2'])
    await using source = await openNbdSource(server.endpoint, call)
    await using sink = await openNbdSink(written.endpoint, call)
    await this.#mover.copyRestore({ source, sink, chunkIds: this.chunkIds, idKey }, call)
    return await readAll(written)
  }

  #layer(index: number): string {
    return join(this.#dir, `layer-${index}.qcow2`)
  }
}

describe('mover threads over QEMU', () => {
  test('a full and five increments of random writes, zeros and trims are the source, and restore to it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(anyChange, { minLength: 1, maxLength: 8 }), { minLength: 6, maxLength: 6 }),
        async (rounds) => {
          await using tmp = await makeTestDir()
          await using mover = createMover({ threadsMax: 1 })
          const chain = new Chain(tmp.dir, mover)
          await chain.create()
          for (const changes of rounds) {
            await chain.change(changes)
            const { source, point } = await chain.backUp()
            expect(Buffer.compare(point, source)).toBe(0)
            expect(Buffer.compare(await chain.restore(), source)).toBe(0)
          }
        },
      ),
      { numRuns: 2, endOnFailure: true },
    )
  })

  test('backups whose thread is killed in the middle, full and incremental, go on to the source’s bytes and ids', async () => {
    await using tmp = await makeTestDir()
    const workerUrl = new URL('./testing/dying-worker.ts', import.meta.url)
    await using mover = createMover({ threadsMax: 1, workerUrl })
    const chain = new Chain(tmp.dir, mover)
    await chain.create()
    const part = { offsetBytes: 0, lengthBytes: 20 * MIB }
    const rounds: (readonly Change[])[] = [
      [{ kind: 'write', ...part, fill: 7 }],
      [
        { kind: 'write', ...part, lengthBytes: 16 * MIB - 512, fill: 9 },
        { kind: 'zero', offsetBytes: MIB, lengthBytes: 3 * MIB, fill: 0 },
        { kind: 'trim', offsetBytes: 5 * MIB, lengthBytes: 3 * MIB, fill: 0 },
        { kind: 'write', offsetBytes: 25 * MIB + 4096, lengthBytes: 66 * 1024, fill: 3 },
      ],
      [
        { kind: 'write', offsetBytes: 3 * MIB, lengthBytes: 17 * MIB, fill: 7 },
        { kind: 'trim', offsetBytes: 12 * MIB + 512, lengthBytes: 2 * MIB, fill: 0 },
      ],
    ]
    for (const changes of rounds) {
      await chain.change(changes)
      const pause = new PauseSwitch()
      const onProgress = ({ checkpoint, rewinds }: CopyProgress): void => {
        if (rewinds > 0) pause.resume()
        // The worker dies of it.
        else if (checkpoint.offsetBytes > 4 * MIB) pause.pause()
      }
      const throttles = [SharedThrottle.at(20 * MIB)]
      const { source, point, progress } = await chain.backUp({ ...call, onProgress, pause, throttles })
      expect(progress.rewinds).toBe(1)
      expect(progress.doneBytes).toBe(progress.plannedBytes)
      expect(Buffer.compare(point, source)).toBe(0)
      expect(
        Buffer.compare(chain.chunkIds.bytes, chunkIdsOf(source, { chunkSizeBytes: CHUNK_BYTES, idKey }).bytes),
      ).toBe(0)
      expect(Buffer.compare(await chain.restore(), source)).toBe(0)
    }
  })

  test('an incremental of 1 % of the disk reads 1 % of it', async () => {
    await using tmp = await makeTestDir()
    await using mover = createMover({ threadsMax: 1 })
    const chain = new Chain(tmp.dir, mover)
    await chain.create()
    await chain.change([{ kind: 'write', offsetBytes: 0, lengthBytes: DISK_BYTES, fill: 7 }])
    const full = await chain.backUp()
    expect(full.progress.readBytes).toBe(DISK_BYTES)
    const changes = [1, 9, 17, 25, 31].map((mib) => {
      return { kind: 'write', offsetBytes: mib * MIB + 65_536, lengthBytes: 65_536, fill: 9 } as const
    })
    await chain.change(changes)
    const { progress, source, point } = await chain.backUp()
    expect(Buffer.compare(point, source)).toBe(0)
    expect(progress).toMatchObject({ readBytes: 5 * 65_536, writtenBytes: 5 * 65_536, baseReadBytes: 5 * CHUNK_BYTES })
  })
})

async function startRandomDisk(sizeBytes: number): Promise<RealServer> {
  return await startNbdkit(['random', String(sizeBytes)])
}

function translateError(error: unknown): unknown {
  return new PlatformError('repository.no_space', 'no room', { cause: error })
}

describe('mover threads', () => {
  test('more copies than threads take their turn, and report progress up to the end', async () => {
    await using mover = createMover({ threadsMax: 2 })
    await using server = await startRandomDisk(8 * MIB)
    await using source = await openNbdSource(server.endpoint, call)
    const copies = Array.from({ length: 6 }, async () => {
      await using target = await startNbdkit(['memory', String(8 * MIB)])
      await using sink = await openNbdSink(target.endpoint, call)
      const chunkIds = new ChunkIds(8 * MIB, CHUNK_BYTES)
      const seen: CopyProgress[] = []
      const onProgress = (progress: CopyProgress): void => void seen.push(progress)
      await mover.copyBackup({ mode: 'full', source, sink, chunkIds, idKey }, { signal, onProgress })
      await using written = await openNbdSource(target.endpoint, call)
      const end = await mover.copyRestore({ source: written, chunkIds, idKey }, call)
      return [seen.at(-1)?.doneBytes, end.doneBytes]
    })
    expect(await Promise.all(copies)).toEqual(copies.map(() => [8 * MIB, 8 * MIB]))
  })

  test('a cancelled copy rejects with the reason, and its thread takes the next', async () => {
    await using mover = createMover({ threadsMax: 1 })
    await using slow = await startNbdkit(['--filter=delay', 'random', String(64 * MIB), 'rdelay=1000ms'])
    await using source = await openNbdSource(slow.endpoint, call)
    const control = new AbortController()
    const chunkIds = new ChunkIds(64 * MIB, CHUNK_BYTES)
    const onProgress = (): void => control.abort(new Error('enough'))
    const copy = mover.copyRestore({ source, chunkIds, idKey }, { signal: control.signal, onProgress })
    await expect(copy).rejects.toThrow('enough')
    await using small = await startNbdkit(['memory', String(MIB)])
    await using next = await openNbdSource(small.endpoint, call)
    const ids = new ChunkIds(MIB, CHUNK_BYTES)
    await expect(mover.copyRestore({ source: next, chunkIds: ids, idKey }, call)).resolves.toMatchObject({
      readBytes: 0,
    })
  })

  test('errors come back with code, offset and the words of the disk’s owner', async () => {
    await using mover = createMover({ threadsMax: 1 })
    const faults = ['error-pread=EIO', 'error-pread-rate=100%']
    await using broken = await startNbdkit(['--filter=error', 'memory', String(MIB), ...faults])
    await using full = await startNbdkit([
      '--filter=error',
      'memory',
      String(MIB),
      'error-pwrite=ENOSPC',
      'error-pwrite-rate=100%',
    ])
    await using good = await startRandomDisk(MIB)
    await using brokenSource = await openNbdSource(broken.endpoint, call)
    await using goodSource = await openNbdSource(good.endpoint, call)
    await using sink = await openNbdSink(full.endpoint, call)
    const chunkIds = new ChunkIds(MIB, CHUNK_BYTES)
    await fillThrough(broken)
    const reading = mover.copyRestore({ source: brokenSource, chunkIds, idKey }, call)
    const details = { offsetBytes: 0, lengthBytes: MIB, attempts: 5 }
    await expect(reading).rejects.toMatchObject({ code: 'source.read_failed', details })
    const owned = Object.assign(sink, { translateError })
    const writing = mover.copyBackup({ mode: 'full', source: goodSource, sink: owned, chunkIds, idKey }, call)
    await expect(writing).rejects.toMatchObject({ code: 'repository.no_space', cause: { code: 'target.no_space' } })
  })

  test('a server killed in the middle of a copy fails it as disconnected, whichever side it is', async () => {
    await using mover = createMover({ threadsMax: 1 })
    for (const victim of ['source', 'sink'] as const) {
      await using slow = await startNbdkit(['--filter=delay', 'random', String(64 * MIB), 'rdelay=100ms'])
      await using target = await startNbdkit(['memory', String(64 * MIB)])
      await using source = await openNbdSource(slow.endpoint, call)
      await using sink = await openNbdSink(target.endpoint, call)
      const chunkIds = new ChunkIds(64 * MIB, CHUNK_BYTES)
      const server = victim === 'source' ? slow : target
      const onProgress = ({ doneBytes }: CopyProgress): void => {
        if (doneBytes > 0) server.process.kill('SIGKILL')
      }
      const copy = mover.copyBackup({ mode: 'full', source, sink, chunkIds, idKey }, { signal, onProgress })
      await expect(copy).rejects.toMatchObject({ code: 'nbd.disconnected' })
    }
  })

  test('a task that no thread can do fails alone', async () => {
    await using mover = createMover({ threadsMax: 1 })
    await using server = await startNbdkit(['memory', String(MIB)])
    await using source = await openNbdSource(server.endpoint, call)
    const chunkIds = new ChunkIds(MIB, CHUNK_BYTES)
    const address = { transport: 'unix', path: '/'.repeat(200) } as const
    const wrong = { ...source, endpoint: { ...server.endpoint, address } }
    const refused = mover.copyRestore({ source: wrong, chunkIds, idKey }, call)
    const next = mover.copyRestore({ source, chunkIds, idKey }, call)
    await expect(refused).rejects.toMatchObject({ code: 'input.invalid' })
    await expect(next).resolves.toMatchObject({ plannedBytes: 0 })
  })

  test('a disk that is gone, a corrupt chunk, a mover that is closed', async () => {
    const mover = createMover({ threadsMax: 1 })
    await using server = await startRandomDisk(MIB)
    await using source = await openNbdSource(server.endpoint, call)
    const chunkIds = new ChunkIds(MIB, CHUNK_BYTES)
    chunkIds.set(1, randomBytes(32))
    const corrupt = mover.copyRestore({ source, chunkIds, idKey }, call)
    await expect(corrupt).rejects.toMatchObject({ code: 'repository.chunk_corrupt', details: { offsetBytes: 0 } })
    const address = { transport: 'unix', path: '/nonexistent/disk.sock' } as const
    const gone = lazyNbdSource({ endpoint: { kind: 'nbd', address, exportName: '' }, sizeBytes: MIB })
    const opening = mover.copyRestore({ source: gone, chunkIds, idKey }, call)
    await expect(opening).rejects.toMatchObject({ code: 'nbd.disconnected' })
    await mover[Symbol.asyncDispose]()
    const late = mover.copyRestore({ source, chunkIds, idKey }, call)
    await expect(late).rejects.toMatchObject({ code: 'internal.cancelled' })
  })
})

/** Makes the disk have data to read: nbdkit's memory knows its zeros. */
async function fillThrough({ endpoint }: RealServer): Promise<void> {
  await using sink = await openNbdSink(endpoint, call)
  await sink.write(0, new Uint8Array(MIB).fill(5), call)
}
