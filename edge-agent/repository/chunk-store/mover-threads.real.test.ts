import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BlockSource } from '../../block/block-source.ts'
import { createMover } from '../../mover/create-mover.ts'
import type { CopyProgress, Mover } from '../../mover/mover.ts'
import { PauseSwitch } from '../../mover/pause-switch.ts'
import { SharedThrottle } from '../../mover/rate/shared-throttle.ts'
import { openNbdSink } from '../../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import { startNbdkit, startQemuNbd } from '../../nbd/client/real-nbd-server.ts'
import { openLocalStore } from '../../object-store/local/local-store.ts'
import { temporaryDirectory } from '../../object-store/local/temporary-directory.ts'
import { parseStoreConfig } from '../../object-store/object-store-config.ts'
import { openObjectStore } from '../../object-store/open-object-store.ts'
import { newBackupOf, sealFactsOf } from '../repository-scenario.ts'
import type { NewBackup, Repository } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import { CHUNK_DISK_OPENER } from './chunk-disk-address.ts'
import { makeTestChunkRepository, type TestChunkRepository } from './test-chunk-repository.ts'

const MIB = 1024 * 1024
const DISK_BYTES = 640 * MIB
const openers = { [CHUNK_DISK_OPENER]: new URL('chunk-disk-opener.ts', import.meta.url).href }
const dyingWorker = new URL('../../mover/testing/dying-worker.ts', import.meta.url)
const call = { signal: AbortSignal.timeout(180_000) }

/** A disk image of text that repeats itself here and there, with holes. */
async function makeImage(file: string): Promise<void> {
  await using image = await open(file, 'w')
  await image.truncate(DISK_BYTES)
  for (let at = 0; at < DISK_BYTES; at += 32 * MIB) {
    const noise = randomBytes(3 * MIB + 4096)
    await image.write(noise, 0, noise.length, at + 5000)
    const text = Buffer.alloc(MIB, `line ${at % (128 * MIB)} of a log\n`)
    await image.write(text, 0, text.length, at + 8 * MIB)
  }
}

async function sameAsImage(source: BlockSource, file: string): Promise<boolean> {
  const image = await readFile(file)
  const into = new Uint8Array(16 * MIB)
  for (let at = 0; at < DISK_BYTES; at += into.length) {
    await source.read(at, into, call)
    if (Buffer.compare(into, image.subarray(at, at + into.length)) !== 0) return false
  }
  return true
}

describe('disks of a chunk repository in the threads of the mover', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>
  let image: string
  let made: TestChunkRepository
  beforeAll(async () => {
    directory = await temporaryDirectory()
    image = path.join(directory.path, 'image')
    await makeImage(image)
  })
  afterAll(async () => await directory?.[Symbol.asyncDispose]())

  async function newRepository(name: string): Promise<Repository> {
    const place = path.join(directory.path, name)
    const config = parseStoreConfig({ kind: 'directory', directory: place })
    await mkdir(place)
    await openLocalStore({ directory: place, create: { worm: false }, ...call })
    made = await makeTestChunkRepository(async () => await openObjectStore(config, call), call, config)
    return await made.open({ settings: { packSizeBytes: 4 * MIB } })
  }

  async function backUp(
    repository: Repository,
    mover: Mover,
    { dies = false, parent }: { readonly dies?: boolean; readonly parent?: SealedManifest } = {},
  ): Promise<{ sealed: SealedManifest; progress: CopyProgress }> {
    await using server = await startQemuNbd(image, ['--read-only', '--format=raw'])
    await using source = await openNbdSource(server.endpoint, call)
    const mode = parent === undefined ? 'full' : 'compare'
    const vmId = parent?.manifest.vmId ?? randomUUID()
    const base = parent === undefined ? {} : { parentRestorePointId: parent.manifest.restorePointId }
    const asked: NewBackup = newBackupOf({
      vmId,
      ...base,
      disks: [{ diskId: 'disk0', sizeBytes: DISK_BYTES, mode, source }],
    })
    await using writer = await repository.openBackup(asked, call)
    const disk = writer.disks.get('disk0')
    if (disk === undefined) throw new Error('the disk was asked for')
    expect(disk.sink.endpoint?.kind).toBe('opener')
    const below = disk.base === undefined ? {} : { base: disk.base }
    const task = { mode, source, ...below, sink: disk.sink, chunkIds: disk.chunkIds, idKey: repository.idKey } as const
    const pause = new PauseSwitch()
    const onProgress = ({ doneBytes, plannedBytes, rewinds }: CopyProgress): void => {
      if (dies && rewinds === 0 && doneBytes > plannedBytes / 2) pause.pause()
      if (rewinds > 0) pause.resume()
    }
    const slow = dies ? { throttles: [SharedThrottle.at(100 * MIB)] } : {}
    const copying = { ...task, ...slow, checkpointEveryBytes: 16 * MIB }
    const progress = await mover.copyBackup(copying, { ...call, onProgress, pause })
    const sealed = await writer.seal(
      sealFactsOf(asked, { takenAt: new Date(), copied: new Map([['disk0', progress]]) }),
      call,
    )
    return { sealed, progress }
  }

  async function restore(repository: Repository, mover: Mover, { manifest }: SealedManifest): Promise<void> {
    await using reader = await repository.openRestorePoint(manifest.restorePointId, call)
    const disk = reader.disks.get('disk0')
    if (disk === undefined) throw new Error('the restore point has the disk')
    expect(disk.source.endpoint?.kind).toBe('opener')
    await using target = await startNbdkit(['memory', String(DISK_BYTES)])
    await using sink = await openNbdSink(target.endpoint, call)
    await mover.copyRestore({ source: disk.source, sink, chunkIds: disk.chunkIds, idKey: repository.idKey }, call)
    await using written = await openNbdSource(target.endpoint, call)
    expect(await sameAsImage(written, image)).toBe(true)
    expect(await sameAsImage(disk.source, image)).toBe(true)
  }

  test('a large disk is written and read by both threads, byte for byte; the same disk of another VM costs nothing', async () => {
    await using mover = createMover({ threadsMax: 2, openers })
    await using repository = await newRepository('one')
    const { sealed, progress } = await backUp(repository, mover)
    expect(progress.doneBytes).toBe(progress.plannedBytes)
    const [disk] = sealed.manifest.disks
    expect(disk?.storedBytes).toBeGreaterThan(20 * 3 * MIB)
    await restore(repository, mover, sealed)
    const other = await backUp(repository, mover)
    expect(other.sealed.manifest.disks[0]?.storedBytes).toBe(0)
    await using again = await made.open({ settings: { packSizeBytes: 4 * MIB } })
    const third = await backUp(again, mover, { parent: other.sealed })
    expect(third.sealed.manifest.disks[0]?.storedBytes).toBe(0)
    expect(third.progress.writtenBytes).toBe(0)
    await restore(again, mover, third.sealed)
  })

  test('a thread that dies in the middle takes its packs with it, and the restore point is whole all the same', async () => {
    await using mover = createMover({ threadsMax: 2, openers, workerUrl: dyingWorker })
    await using repository = await newRepository('dying')
    const { sealed, progress } = await backUp(repository, mover, { dies: true })
    expect(progress.rewinds).toBeGreaterThan(0)
    await using calm = createMover({ threadsMax: 2, openers })
    await restore(repository, calm, sealed)
  })

  test('a mover that knows no opener copies on its own thread', async () => {
    await using mover = createMover({ threadsMax: 1 })
    await using repository = await newRepository('here')
    const { sealed, progress } = await backUp(repository, mover)
    expect(progress.writtenBytes).toBeGreaterThan(20 * 3 * MIB)
    await restore(repository, mover, sealed)
  })
})
