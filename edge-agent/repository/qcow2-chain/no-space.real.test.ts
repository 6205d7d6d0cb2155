import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import type { CallOptions } from '../../block/block-source.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { createMover } from '../../mover/create-mover.ts'
import { backUp, newBackupOf, restoreAll } from '../repository-scenario.ts'
import { ChainScene } from './chain-scene.ts'
import { makeChangingImage } from './changing-image.ts'
import { folders } from './repository-layout.ts'
import { makeTemporaryRepository } from './temporary-repository.ts'

const run = promisify(execFile)
const MIB = 1024 * 1024

test('a storage that fills up in the middle is repository.no_space; older points stay, and work goes on when there is room', async () => {
  await using storage = await mountSmallStorage(24 * MIB)
  const dir = join(storage.path, 'repository')
  await using place = await makeTemporaryRepository(call(), { dir })
  const repository = await place.open()
  const content = new Uint8Array(randomBytes(4 * MIB))
  const vmId = randomUUID()
  const small = { diskId: 'disk0', sizeBytes: content.length, mode: 'full' } as const
  const first = await backUp(
    repository,
    { vmId, disks: [{ ...small, source: createMemoryDisk({ sizeBytes: content.length, content }) }] },
    call(),
  )

  const big = new Uint8Array(randomBytes(32 * MIB))
  const tooMuch = {
    diskId: 'disk0',
    sizeBytes: big.length,
    mode: 'full',
    source: createMemoryDisk({ sizeBytes: big.length, content: big }),
  } as const
  await expect(backUp(repository, { vmId, disks: [tooMuch] }, call())).rejects.toMatchObject({
    code: 'repository.no_space',
  })
  expect(await readdir(join(dir, folders.partial))).toEqual([])
  const listed = await Array.fromAsync(repository.listRestorePoints({}, call()))
  expect(listed).toEqual([first])
  const restored = await restoreAll(repository, first.manifest.restorePointId, call())
  expect(Buffer.compare(restored.get('disk0') ?? new Uint8Array(), content)).toBe(0)

  content.fill(0xee, MIB, 2 * MIB)
  const next = { ...small, mode: 'compare', source: createMemoryDisk({ sizeBytes: content.length, content }) } as const
  const parentRestorePointId = first.manifest.restorePointId
  const second = await backUp(repository, { vmId, parentRestorePointId, disks: [next] }, call())
  const after = await restoreAll(repository, second.manifest.restorePointId, call())
  expect(Buffer.compare(after.get('disk0') ?? new Uint8Array(), content)).toBe(0)
})

test('a storage that fills up under a mover’s worker thread is repository.no_space too', async () => {
  await using storage = await mountSmallStorage(16 * MIB)
  await using place = await makeTemporaryRepository(call(), { dir: join(storage.path, 'repository') })
  const repository = await place.open()
  await using mover = createMover({ threadsMax: 1 })
  const imageDir = await mkdtemp(join(tmpdir(), 'sd-image-'))
  onTestFinished(async () => await rm(imageDir, { recursive: true, force: true }))
  const image = await makeChangingImage(imageDir, 24 * MIB, call())
  await image.change(async (disk) => await disk.write(0, new Uint8Array(randomBytes(24 * MIB)), call()))
  const backup = newBackupOf({
    vmId: randomUUID(),
    disks: [
      { diskId: 'disk0', sizeBytes: image.sizeBytes, mode: 'full', source: createMemoryDisk({ sizeBytes: 512 }) },
    ],
  })
  const copying = image.freeze(async (source) => {
    await using writer = await repository.openBackup(backup, call())
    const disk = writer.disks.get('disk0')
    if (disk === undefined) throw new Error('one disk was asked for')
    const { sink, chunkIds } = disk
    expect(sink.endpoint).toBeDefined()
    return await mover.copyBackup({ mode: 'full', source, sink, chunkIds, idKey: repository.idKey }, call())
  })
  await expect(copying).rejects.toMatchObject({ code: 'repository.no_space' })
})

test('a point is deleted although there is no room to merge; the next deletion gives the space back', async () => {
  await using storage = await mountSmallStorage(40 * MIB)
  const dir = join(storage.path, 'repository')
  await using place = await makeTemporaryRepository(call(), { dir })
  await using repository = await place.open()
  const scene = new ChainScene({ disk0: 8 * MIB })
  const disk = scene.disks.get('disk0')
  if (disk === undefined) throw new Error('one disk')
  const first = await scene.take(repository)
  for (const round of [1, 2]) {
    await disk.write(0, new Uint8Array(randomBytes(7 * MIB)), call())
    await disk.write(7 * MIB, new Uint8Array(MIB).fill(round), call())
    await scene.take(repository)
  }
  const filler = join(storage.path, 'filler')
  const { freeBytes } = await repository.getCapacity(call())
  await writeFile(filler, new Uint8Array(freeBytes - 2 * MIB))
  await scene.delete(repository, first)
  const [second, third] = scene.points
  if (second === undefined || third === undefined) throw new Error('three were taken')
  await scene.delete(repository, second)
  expect(await scene.layerNames(dir)).toHaveLength(3)
  expect(await readdir(join(dir, folders.partial))).toEqual([])
  await scene.expectRestorable(repository)
  await expect(repository.chainCare?.shorten(third.manifest.restorePointId, call())).rejects.toMatchObject({
    code: 'repository.no_space',
  })
  await scene.expectRestorable(repository)

  await rm(filler)
  const fourth = await scene.take(repository)
  await scene.delete(repository, fourth)
  expect(await scene.layerNames(dir)).toHaveLength(1)
  await scene.expectRestorable(repository)
})

test('a storage that is no longer mounted is repository.missing, one with another repository is refused', async () => {
  await using storage = await mountSmallStorage(8 * MIB)
  const dir = join(storage.path, 'repository')
  await using place = await makeTemporaryRepository(call(), { dir })
  const repository = await place.open()
  await storage.unmount()
  await expect(repository.getCapacity(call())).rejects.toMatchObject({ code: 'repository.missing' })
  await expect(place.open()).rejects.toMatchObject({ code: 'repository.missing' })
  await mkdir(dir)
  await expect(repository.getCapacity(call())).rejects.toMatchObject({ code: 'repository.not_a_repository' })
  await using other = await makeTemporaryRepository(call(), { dir })
  expect(other.options.expectedRepositoryId).not.toBe(repository.repositoryId)
  await expect(repository.getCapacity(call())).rejects.toMatchObject({ code: 'repository.not_a_repository' })
})

/** A file system of its own that is full soon. */
async function mountSmallStorage(
  sizeBytes: number,
): Promise<AsyncDisposable & { path: string; unmount(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'sd-small-'))
  await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'none', path])
  let mounted = true
  const unmount = async (): Promise<void> => {
    if (mounted) await run('umount', [path])
    mounted = false
  }
  return {
    path,
    unmount,
    [Symbol.asyncDispose]: async () => {
      await unmount()
      await rm(path, { recursive: true, force: true })
    },
  }
}

function call(): CallOptions {
  return { signal: AbortSignal.timeout(60_000) }
}
