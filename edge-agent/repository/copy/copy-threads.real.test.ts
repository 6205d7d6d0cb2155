import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { createMover } from '../../mover/create-mover.ts'
import { LANE_STRIPE_BYTES } from '../../mover/lane.ts'
import { CHUNK_DISK_OPENER } from '../chunk-store/chunk-disk-address.ts'
import { backUp, restoreAll } from '../repository-scenario.ts'
import type { Repository } from '../repository.ts'
import { call, sameBytes } from '../scenario-guest.ts'
import { COPIED_DISK_OPENER } from './copied-disk-address.ts'
import { copyRestorePoint } from './copy-restore-point.ts'
import { CopiedVm } from './testing/copied-vm.ts'
import { makePlace, openPlace, type RepositoryPlace } from './testing/repository-place.ts'

const KIB = 1024
const openers = {
  [CHUNK_DISK_OPENER]: new URL('../chunk-store/chunk-disk-opener.ts', import.meta.url).href,
  [COPIED_DISK_OPENER]: new URL('copied-disk-opener.ts', import.meta.url).href,
}
const mover = createMover({ threadsMax: 2, openers, memoryBytes: 128 * KIB * KIB })
afterAll(async () => await mover[Symbol.asyncDispose]())

let root: string
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sd-'))
})
afterEach(async () => await rm(root, { recursive: true, force: true }))

const refuse = async (): Promise<never> => await Promise.reject(new Error('read in the wrong thread'))

/** The repository, whose disks cannot be read in this thread. */
function onlyInThreads(repository: Repository): Repository {
  return new Proxy(repository, {
    get: (on, name) => {
      if (name === 'openRestorePoint') return openForThreads
      const value: unknown = Reflect.get(on, name, on)
      return typeof value === 'function' ? value.bind(on) : value
    },
  })
  async function openForThreads(...asked: Parameters<Repository['openRestorePoint']>) {
    const reader = await repository.openRestorePoint(...asked)
    const disks = [...reader.disks].map(([diskId, { source, chunkIds }]) => {
      const { sizeBytes, endpoint, openersMax, translateError } = source
      assert(endpoint !== undefined)
      const threads = openersMax === undefined ? {} : { openersMax }
      const errors = translateError === undefined ? {} : { translateError }
      const here = {
        read: refuse,
        // oxlint-disable-next-line require-yield
        extents: async function* () {
          throw new Error('asked in the wrong thread')
        },
        [Symbol.asyncDispose]: async () => undefined,
      }
      return [diskId, { source: { sizeBytes, endpoint, ...threads, ...errors, ...here }, chunkIds }] as const
    })
    const dispose = async (): Promise<void> => await reader[Symbol.asyncDispose]()
    return { sealed: reader.sealed, disks: new Map(disks), [Symbol.asyncDispose]: dispose }
  }
}

describe('in the threads of the mover', () => {
  test.each([
    ['chunks', 'chunks', 64, 1024],
    ['chunks', 'chain', 1024, 64],
    ['chain', 'chunks', 256, 256],
    ['chain', 'chain', 64, 256],
  ] as const)('%s to %s: a full copy and what changed since arrive byte for byte', async (from, to, fromKib, toKib) => {
    await using source = await openPlace(await makePlace(from, root, fromKib * KIB))
    await using target = await openPlace(await makePlace(to, root, toKib * KIB))
    const vm = new CopiedVm()
    for (let round = 0; round < 3; round += 1) {
      vm.fill('disk0', round * 200 * KIB, 333 * KIB, round + 1)
      vm.fill('disk1', 0, round * 100 * KIB, round)
      const { manifest } = await vm.backUp(source)
      const { restorePointId } = manifest
      const { sealed } = await copyRestorePoint(onlyInThreads(source), target, restorePointId, {
        mover,
        openers,
        ...call(),
      })
      expect(sealed.manifest.disks[0]?.mode).toBe(round === 0 ? 'full' : 'incremental')
      expect(await vm.restoresFrom(target, restorePointId)).toBe(true)
    }
  })

  test('a disk of several stripes, which both threads read at once, arrives byte for byte; so does what changed since', async () => {
    await using source = await openPlace(await makePlace('chunks', root, 1024 * KIB))
    await using target = await openPlace(await makePlace('chunks', root, 256 * KIB))
    const sizeBytes = 3 * LANE_STRIPE_BYTES + 512
    const content = new Uint8Array(sizeBytes)
    for (let at = 0; at < 3 * LANE_STRIPE_BYTES; at += 8 * KIB * KIB) content.set(randomBytes(KIB * KIB), at)
    const vmId = randomUUID()
    let parent: string | undefined
    for (let round = 0; round < 2; round += 1) {
      content.set(randomBytes(100_000), LANE_STRIPE_BYTES - 50_000)
      content.fill(0, 16 * KIB * KIB, 17 * KIB * KIB)
      const base = parent === undefined ? {} : { parentRestorePointId: parent }
      const mode = parent === undefined ? ('full' as const) : ('compare' as const)
      const disk = { diskId: 'disk0', sizeBytes, mode, source: createMemoryDisk({ sizeBytes, content }) }
      const { manifest } = await backUp(
        source,
        { vmId, takenAt: new Date(1_700_000_000_000 + round), ...base, disks: [disk] },
        call(),
      )
      parent = manifest.restorePointId
      const copied = await copyRestorePoint(onlyInThreads(source), target, parent, { mover, openers, ...call() })
      expect(copied.sealed.manifest.disks[0]?.mode).toBe(round === 0 ? 'full' : 'incremental')
      const restored = (await restoreAll(target, parent, call())).get('disk0')
      expect(sameBytes(restored, content)).toBe(true)
    }
  })

  test('a chunk that the source has lost ends the copy with disk and range, and the target has nothing of it', async () => {
    const place = await makePlace('chunks', root, 64 * KIB)
    await using target = await openPlace(await makePlace('chain', root, 64 * KIB))
    const vm = new CopiedVm()
    vm.fill('disk0', 128 * KIB, 300 * KIB, 1)
    const { restorePointId } = await backUpInto(place, vm)
    await loseFirstPack(place)
    await using source = await openPlace(place)
    const copying = copyRestorePoint(onlyInThreads(source), target, restorePointId, { mover, openers, ...call() })
    await expect(copying).rejects.toMatchObject({
      code: 'repository.chunk_corrupt',
      details: { repositoryId: source.repositoryId, restorePointId, diskId: 'disk0', offsetBytes: 128 * KIB },
    })
    expect(await Array.fromAsync(target.listRestorePoints({}, call()))).toEqual([])
  })
})

async function backUpInto(place: RepositoryPlace, vm: CopiedVm): Promise<{ readonly restorePointId: string }> {
  await using repository = await openPlace(place)
  return (await vm.backUp(repository)).manifest
}

/** The pack that was written first: it has chunks of disk0. The ids of the chunks come later. */
async function loseFirstPack(place: RepositoryPlace): Promise<void> {
  assert(place.kind === 'chunks' && place.store.kind === 'directory')
  const packs = path.join(place.store.directory, 'packs')
  const entries = await readdir(packs, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
  const dated = await Promise.all(files.map(async (file) => ({ file, at: (await stat(file)).mtimeMs })))
  const [first] = dated.toSorted((left, right) => left.at - right.at)
  assert(first !== undefined && files.length > 1)
  await rm(first.file)
}
