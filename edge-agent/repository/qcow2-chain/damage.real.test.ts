import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expect, test } from 'vitest'
import { z } from 'zod'
import type { CallOptions } from '../../block/block-source.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { createQcow2Image, expectSuccess } from '../../qemu/qemu-img.ts'
import { backUp, restoreAll } from '../repository-scenario.ts'
import type { Repository } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import { pagePath } from './repository-layout.ts'
import { makeTemporaryRepository } from './temporary-repository.ts'

const DISK_BYTES = 1024 * 1024
const LAYER_FLIPS = 24

test('a flipped bit in the data of any layer is repository.chunk_corrupt at restore', async () => {
  await using scene = await openScene()
  const { repository, newest } = scene
  const layers = newest.manifest.disks[0]?.layers ?? []
  expect(layers.length).toBe(2)
  for (const layer of layers) {
    const path = join(scene.dir, layer)
    await withFlippedBit(path, (await dataOffset(path)) + randomInt(1000), async () => {
      await expect(restoreAll(repository, newest.manifest.restorePointId, call())).rejects.toMatchObject({
        code: 'repository.chunk_corrupt',
      })
    })
  }
  expect(await restored(repository, newest)).toEqual(scene.content)
})

test('a flipped bit anywhere in a layer never restores anything but the right bytes', async () => {
  await using scene = await openScene()
  for (const layer of scene.newest.manifest.disks[0]?.layers ?? []) {
    const path = join(scene.dir, layer)
    const size = (await readFile(path)).length
    for (let flip = 0; flip < LAYER_FLIPS; flip += 1) {
      // The first half lands in headers, tables and refcounts.
      const offset = flip % 2 === 0 ? randomInt(512) : randomInt(size)
      await withFlippedBit(path, offset, async () => {
        const outcome = await restored(scene.repository, scene.newest).catch(codeOf)
        const right = typeof outcome === 'string' || Buffer.compare(outcome, scene.content) === 0
        expect({ offset, outcome: typeof outcome === 'string' ? outcome : 'restored', right }).toEqual({
          offset,
          outcome: expect.stringMatching(/^(repository\.chunk_corrupt|repository\.io_failed|restored)$/),
          right: true,
        })
      })
    }
  }
})

test('a flipped bit in any chunk-id page, or its absence, is repository.manifest_invalid', async () => {
  await using scene = await openScene()
  for (const hash of scene.newest.manifest.disks[0]?.pages ?? []) {
    const path = join(scene.dir, pagePath(hash))
    const invalid = { code: 'repository.manifest_invalid' }
    await withFlippedBit(path, randomInt(32), async () => {
      await expect(restored(scene.repository, scene.newest)).rejects.toMatchObject(invalid)
    })
    const page = await readFile(path)
    await writeFile(path, page.subarray(0, -1))
    await expect(restored(scene.repository, scene.newest)).rejects.toMatchObject(invalid)
    await rm(path)
    await expect(restored(scene.repository, scene.newest)).rejects.toMatchObject(invalid)
    await writeFile(path, page)
  }
  expect(await restored(scene.repository, scene.newest)).toEqual(scene.content)
})

test('a missing, cut or exchanged layer is repository.chunk_corrupt', async () => {
  await using scene = await openScene()
  const [upper = '', lower = ''] = scene.newest.manifest.disks[0]?.layers ?? []
  const path = join(scene.dir, lower)
  const whole = await readFile(path)
  const corrupt = { code: 'repository.chunk_corrupt' }
  await rm(path)
  await expect(restored(scene.repository, scene.newest)).rejects.toMatchObject(corrupt)
  await writeFile(path, whole.subarray(0, 50))
  await expect(restored(scene.repository, scene.newest)).rejects.toMatchObject(corrupt)
  await copyFile(join(scene.dir, upper), path)
  await expect(restored(scene.repository, scene.newest)).rejects.toMatchObject(corrupt)
})

test('one damaged manifest does not hide the others, and no leftover is removed while it is there', async () => {
  await using scene = await openScene()
  const folder = join(scene.dir, 'rp', scene.newest.manifest.vmId)
  const [first = ''] = (await readdir(folder)).toSorted()
  await writeFile(join(scene.dir, 'layers', scene.newest.manifest.vmId, 'disk0', `${randomUUID()}.qcow2`), 'left')
  const layersBefore = await readdir(join(scene.dir, 'layers', scene.newest.manifest.vmId, 'disk0'))
  await withFlippedBit(join(folder, first), 100, async () => {
    const repository = await scene.reopen()
    const seen: string[] = []
    const listing = (async () => {
      for await (const sealed of repository.listRestorePoints({}, call())) seen.push(sealed.manifest.restorePointId)
    })()
    await expect(listing).rejects.toMatchObject({ code: 'repository.manifest_invalid' })
    expect(seen).toEqual([scene.newest.manifest.restorePointId])
    expect(await readdir(join(scene.dir, 'layers', scene.newest.manifest.vmId, 'disk0'))).toEqual(layersBefore)
  })
  await scene.reopen()
  const layersAfter = await readdir(join(scene.dir, 'layers', scene.newest.manifest.vmId, 'disk0'))
  expect(layersAfter.length).toBe(layersBefore.length - 1)
})

test('neither a guest that writes a QCOW2 header nor a changed layer header reaches a file of the host', async () => {
  await using scene = await openScene()
  const secret = join(scene.root, 'secret')
  await writeFile(secret, Buffer.alloc(DISK_BYTES, 'host secret '))
  const hostile = join(scene.root, 'hostile.qcow2')
  await createQcow2Image({ path: hostile, sizeBytes: DISK_BYTES }, call())
  await expectSuccess(['rebase', '-u', '-f', 'qcow2', '-b', secret, '-F', 'raw', hostile], call())
  const content = Buffer.alloc(DISK_BYTES)
  ;(await readFile(hostile)).copy(content)
  const sealed = await scene.backUp(content)
  expect(await restored(scene.repository, sealed)).toEqual(content)

  for (const layer of sealed.manifest.disks[0]?.layers ?? []) {
    await expectSuccess(['rebase', '-u', '-f', 'qcow2', '-b', secret, '-F', 'raw', join(scene.dir, layer)], call())
  }
  expect(await restored(scene.repository, sealed)).toEqual(content)
})

interface Scene extends AsyncDisposable {
  readonly root: string
  readonly dir: string
  readonly repository: Repository
  /** The second of two points, built on the first; each has data of its own. */
  readonly newest: SealedManifest
  readonly content: Buffer
  backUp(content: Uint8Array): Promise<SealedManifest>
  reopen(): Promise<Repository>
}

async function openScene(): Promise<Scene> {
  const place = await makeTemporaryRepository(call())
  const repository = await place.open()
  const vmId = randomUUID()
  let newest: SealedManifest | undefined
  let minute = 0
  const take = async (content: Uint8Array): Promise<SealedManifest> => {
    const mode = newest === undefined ? 'full' : 'compare'
    const source = createMemoryDisk({ sizeBytes: DISK_BYTES, content })
    const base = newest === undefined ? {} : { parentRestorePointId: newest.manifest.restorePointId }
    minute += 1
    const takenAt = new Date(1_700_000_000_000 + minute * 60_000)
    const disk = { diskId: 'disk0', sizeBytes: DISK_BYTES, mode, source } as const
    newest = await backUp(repository, { vmId, takenAt, ...base, disks: [disk] }, call())
    return newest
  }
  const content = Buffer.alloc(DISK_BYTES)
  randomBytes(200_000).copy(content, 0)
  await take(content)
  randomBytes(100_000).copy(content, 500_000)
  return {
    root: join(place.dir, '..'),
    dir: place.dir,
    repository,
    newest: await take(content),
    content,
    backUp: take,
    reopen: async () => await place.open(),
    [Symbol.asyncDispose]: async () => await place[Symbol.asyncDispose](),
  }
}

async function restored(repository: Repository, sealed: SealedManifest): Promise<Buffer> {
  const contents = await restoreAll(repository, sealed.manifest.restorePointId, call())
  return Buffer.from(contents.get('disk0') ?? [])
}

function codeOf(error: unknown): string {
  if (error instanceof PlatformError) return error.code
  throw error
}

async function withFlippedBit(path: string, offsetBytes: number, work: () => Promise<void>): Promise<void> {
  const whole = await readFile(path)
  const damaged = Buffer.from(whole)
  damaged[offsetBytes] = (damaged[offsetBytes] ?? 0) ^ (1 << randomInt(8))
  await writeFile(path, damaged)
  try {
    await work()
  } finally {
    await writeFile(path, whole)
  }
}

/** Where in a layer's file its first data is (qemu-img(1), "map"). */
async function dataOffset(path: string): Promise<number> {
  const image = { driver: 'qcow2', backing: null, file: { driver: 'file', filename: path } }
  const text = await expectSuccess(['map', '--output=json', `json:${JSON.stringify(image)}`], call())
  const extents = z.array(z.looseObject({ data: z.boolean(), offset: z.int().optional() })).parse(JSON.parse(text))
  return extents.find((extent) => extent.data && extent.offset !== undefined)?.offset ?? 0
}

function call(): CallOptions {
  return { signal: AbortSignal.timeout(60_000) }
}
