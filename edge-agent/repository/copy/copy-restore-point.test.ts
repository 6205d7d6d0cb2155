import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { afterAll, describe, expect, test } from 'vitest'
import { createMover } from '../../mover/create-mover.ts'
import {
  createMemoryRepositoryStore,
  type MemoryRepositoryOptions,
  openMemoryRepository,
} from '../memory/memory-repository.ts'
import type { Repository } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import { call } from '../scenario-guest.ts'
import { copyMissing, type CopyResult } from './copy-missing.ts'
import { copyRestorePoint, type RestorePointCopy } from './copy-restore-point.ts'
import { CopiedVm, DISKS } from './testing/copied-vm.ts'

const KIB = 1024
const mover = createMover({ threadsMax: 1, memoryBytes: 64 * KIB * KIB })
afterAll(async () => await mover[Symbol.asyncDispose]())

function newRepository(chunkSizeBytes: number, options: MemoryRepositoryOptions = {}) {
  const store = createMemoryRepositoryStore({ chunkSizeBytes, idKey: randomBytes(32) })
  return { store, repository: openMemoryRepository(store, options) }
}

/** Two empty repositories with keys and chunk sizes of their own, and a VM with something on its disks. */
function newPair(targetOptions: MemoryRepositoryOptions = {}) {
  const source = newRepository(64 * KIB)
  const target = newRepository(128 * KIB, targetOptions)
  const vm = new CopiedVm()
  vm.fill('disk0', 0, 512 * KIB, 1)
  vm.fill('disk1', 64 * KIB, 100 * KIB, 2)
  const copy = async (point: SealedManifest): Promise<RestorePointCopy> =>
    await copyRestorePoint(source.repository, target.repository, point.manifest.restorePointId, { mover, ...call() })
  return { source, target, vm, copy }
}

/** Changes bytes of a disk where they are kept. */
function damage({ store }: ReturnType<typeof newRepository>, { manifest }: SealedManifest, offsetBytes: number): void {
  const content = store.points.get(manifest.restorePointId)?.disks.get('disk0')
  assert(content !== undefined)
  content.bytes[offsetBytes] = (content.bytes[offsetBytes] ?? 0) ^ 0xff
}

async function idsIn(repository: Repository): Promise<string[]> {
  const points = await Array.fromAsync(repository.listRestorePoints({}, call()))
  return points.map(({ manifest }) => manifest.restorePointId)
}

describe('copyRestorePoint', () => {
  test('the copy is the same restore point: id, VM, time and facts; repository, parent and origin are its own', async () => {
    const { source, target, vm, copy } = newPair()
    const point = await vm.backUpTracked(source.repository)
    const { outcome, sealed } = await copy(point)
    expect(outcome).toBe('copied')
    const { manifest, manifestHash } = point
    const { restorePointId, vmId, vmName, takenAt, jobId, agentId, tenantId, consistency, platformRef } = manifest
    expect(sealed.manifest).toMatchObject({
      restorePointId,
      vmId,
      vmName,
      takenAt,
      jobId,
      agentId,
      tenantId,
      consistency,
      platformRef,
    })
    expect(sealed.manifest.repositoryId).toBe(target.repository.repositoryId)
    expect(sealed.manifest.origin).toEqual({
      repositoryId: source.repository.repositoryId,
      restorePointId,
      manifestHash,
    })
    expect(sealed.manifest.disks.map(({ reason }) => reason)).toEqual(['FULL_COPY', 'FULL_COPY'])
    expect(await vm.restoresFrom(target.repository, restorePointId)).toBe(true)
  })

  test('the copy of a point with change tracking has none: its repository is no base of it', async () => {
    const { source, vm, copy } = newPair()
    const point = await vm.backUpTracked(source.repository)
    expect(point.manifest.disks.every(({ tracking }) => tracking !== undefined)).toBe(true)
    const { sealed } = await copy(point)
    expect(sealed.manifest.disks.every(({ tracking }) => tracking === undefined)).toBe(true)
  })

  test('only chunks that differ from the newest point both have are read, and only they are written', async () => {
    const { source, target, vm, copy } = newPair()
    const first = await vm.backUp(source.repository)
    await copy(first)
    vm.fill('disk0', 300 * KIB, 10, 9)
    vm.fill('disk0', 0, 64 * KIB, 0)
    const second = await vm.backUp(source.repository)
    const { sealed } = await copy(second)
    const [disk0, disk1] = sealed.manifest.disks
    expect(disk0).toMatchObject({
      mode: 'incremental',
      reason: 'INCREMENTAL_COPY',
      readBytes: 64 * KIB,
      writtenBytes: 64 * KIB,
      zeroedBytes: 64 * KIB,
    })
    expect(disk1).toMatchObject({ mode: 'incremental', readBytes: 0, writtenBytes: 0 })
    expect(sealed.manifest.parentRestorePointId).toBe(first.manifest.restorePointId)
    expect(await vm.restoresFrom(target.repository, second.manifest.restorePointId)).toBe(true)
  })

  test('a point that is there already is not moved again, and nothing is opened for it', async () => {
    const { source, target, vm, copy } = newPair()
    const point = await vm.backUp(source.repository)
    const { sealed } = await copy(point)
    const closed: Repository = {
      ...methodsOf(source.repository),
      openRestorePoint: async () => await Promise.reject(new Error('not to be opened')),
    }
    const again = await copyRestorePoint(closed, target.repository, point.manifest.restorePointId, { mover, ...call() })
    expect(again).toEqual({ outcome: 'present', sealed, doubts: [] })
  })

  test('copies of copies name the original, and are known as the same by all that have it', async () => {
    const { source, target, vm, copy } = newPair()
    const point = await vm.backUp(source.repository)
    await copy(point)
    const third = newRepository(256 * KIB).repository
    const id = point.manifest.restorePointId
    const { sealed } = await copyRestorePoint(target.repository, third, id, { mover, ...call() })
    expect(sealed.manifest.origin?.repositoryId).toBe(source.repository.repositoryId)
    expect(sealed.manifest.origin?.manifestHash).toBe(point.manifestHash)
    for (const repository of [source.repository, target.repository]) {
      expect((await copyRestorePoint(third, repository, id, { mover, ...call() })).outcome).toBe('present')
    }
    await source.repository.deleteRestorePoint(id, call())
    expect((await copyRestorePoint(third, source.repository, id, { mover, ...call() })).outcome).toBe('copied')
    expect(await vm.restoresFrom(source.repository, id)).toBe(true)
  })

  test('another restore point of the same id is repository.copy_conflict', async () => {
    const { source, target, vm, copy } = newPair()
    const point = await vm.backUp(source.repository)
    await copy(point)
    const { restorePointId } = point.manifest
    const kept = source.store.points.get(restorePointId)
    assert(kept !== undefined)
    source.store.points.set(restorePointId, { ...kept, sealed: { ...kept.sealed, manifestHash: '0'.repeat(64) } })
    await expect(copy(point)).rejects.toMatchObject({ code: 'repository.copy_conflict' })
    expect(await vm.restoresFrom(target.repository, restorePointId)).toBe(true)
  })

  test('an older point that is copied after a newer one does not build on it', async () => {
    const { source, target, vm, copy } = newPair()
    const first = await vm.backUp(source.repository)
    vm.fill('disk0', 0, 100, 5)
    const second = await vm.backUp(source.repository)
    await copy(second)
    const { sealed } = await copy(first)
    expect(sealed.manifest.parentRestorePointId).toBeUndefined()
    for (const { manifest } of [first, second]) {
      expect(await vm.restoresFrom(target.repository, manifest.restorePointId)).toBe(true)
    }
  })

  test('where the source has lost what both had, all is compared and only differences are stored', async () => {
    const { source, target, vm, copy } = newPair()
    const first = await vm.backUp(source.repository)
    await copy(first)
    vm.fill('disk0', 300 * KIB, 10, 9)
    const second = await vm.backUp(source.repository)
    await source.repository.deleteRestorePoint(first.manifest.restorePointId, call())
    const { sealed } = await copy(second)
    expect(sealed.manifest.disks[0]).toMatchObject({
      reason: 'COMPARE_COPY',
      readBytes: 512 * KIB,
      writtenBytes: 128 * KIB,
    })
    expect(sealed.manifest.parentRestorePointId).toBe(first.manifest.restorePointId)
    expect(await vm.restoresFrom(target.repository, second.manifest.restorePointId)).toBe(true)
  })

  test('a repository is not copied to itself', async () => {
    const { source, vm } = newPair()
    const { manifest } = await vm.backUp(source.repository)
    const copying = copyRestorePoint(source.repository, source.repository, manifest.restorePointId, {
      mover,
      ...call(),
    })
    await expect(copying).rejects.toMatchObject({ code: 'input.invalid' })
  })
})

describe('damage', () => {
  test('a damaged chunk of the source ends the copy with disk and range, and nothing of it is in the target', async () => {
    const { source, target, vm, copy } = newPair()
    const point = await vm.backUp(source.repository)
    damage(source, point, 200 * KIB)
    const details = {
      repositoryId: source.repository.repositoryId,
      diskId: 'disk0',
      offsetBytes: 192 * KIB,
      lengthBytes: 64 * KIB,
    }
    await expect(copy(point)).rejects.toMatchObject({ code: 'repository.chunk_corrupt', details })
    expect(await idsIn(target.repository)).toEqual([])
    vm.fill('disk1', 0, 100, 3)
    expect((await copy(await vm.backUp(source.repository, { full: true }))).outcome).toBe('copied')
  })

  test('damage where nothing has changed since the last copy keeps nothing from being copied', async () => {
    const { source, target, vm, copy } = newPair()
    await copy(await vm.backUp(source.repository))
    vm.fill('disk0', 0, 100, 5)
    const second = await vm.backUp(source.repository)
    damage(source, second, 400 * KIB)
    expect((await copy(second)).sealed.manifest.disks[0]?.mode).toBe('incremental')
    expect(await vm.restoresFrom(target.repository, second.manifest.restorePointId)).toBe(true)
  })

  test.each(['repository.chunk_corrupt', 'repository.restore_point_not_found'] as const)(
    'where the source cannot open what both have (%s), all is compared',
    async (code) => {
      const { source, target, vm, copy } = newPair()
      const first = await vm.backUp(source.repository)
      await copy(first)
      vm.fill('disk0', 300 * KIB, 10, 9)
      const second = await vm.backUp(source.repository)
      const { restorePointId } = first.manifest
      const broken: Repository = {
        ...methodsOf(source.repository),
        openRestorePoint: async (id, options) => {
          if (id !== restorePointId) return await source.repository.openRestorePoint(id, options)
          throw new PlatformError(code, 'a page of its ids is damaged', { details: { restorePointId } })
        },
      }
      const id = second.manifest.restorePointId
      const { sealed, doubts } = await copyRestorePoint(broken, target.repository, id, { mover, ...call() })
      expect(sealed.manifest.disks[0]).toMatchObject({ reason: 'COMPARE_COPY', writtenBytes: 128 * KIB })
      expect(doubts).toHaveLength(1)
      expect(await vm.restoresFrom(target.repository, id)).toBe(true)
    },
  )

  test('a damaged copy in the target is not built on: the next one is copied whole', async () => {
    const { source, target, vm, copy } = newPair()
    const first = await vm.backUp(source.repository)
    await copy(first)
    // One of the two chunks of the source that one of the target has: the other half comes from the copy before.
    vm.fill('disk0', 0, 100, 5)
    const second = await vm.backUp(source.repository)
    damage(target, first, 100 * KIB)
    const { sealed, doubts } = await copy(second)
    expect(sealed.manifest.disks[0]?.mode).toBe('full')
    expect(doubts).toHaveLength(1)
    expect(await vm.restoresFrom(target.repository, second.manifest.restorePointId)).toBe(true)
  })
})

describe('copyMissing', () => {
  test('copies all, each on the one before, and tells of each; a second run moves nothing', async () => {
    const { source, target, vm } = newPair()
    const points: SealedManifest[] = []
    for (let round = 0; round < 4; round += 1) {
      vm.fill('disk0', round * 100 * KIB, 50 * KIB, round)
      points.push(await vm.backUp(source.repository))
    }
    const results: CopyResult[] = []
    const options = { mover, onResult: (result: CopyResult) => results.push(result), ...call() }
    expect(await copyMissing(source.repository, target.repository, {}, options)).toEqual({
      copied: 4,
      present: 0,
      gone: 0,
      failed: 0,
    })
    expect(results.map(({ restorePointId }) => restorePointId)).toEqual(
      points.map(({ manifest }) => manifest.restorePointId),
    )
    expect(results.map((result) => ('sealed' in result ? result.sealed.manifest.disks[0]?.mode : undefined))).toEqual([
      'full',
      'incremental',
      'incremental',
      'incremental',
    ])
    expect(await copyMissing(source.repository, target.repository, {}, options)).toMatchObject({
      copied: 0,
      present: 4,
    })
  })

  test('only the VM that was asked for', async () => {
    const { source, target, vm } = newPair()
    const { manifest } = await vm.backUp(source.repository)
    await new CopiedVm().backUp(source.repository)
    await copyMissing(source.repository, target.repository, { vmId: vm.vmId }, { mover, ...call() })
    expect(await idsIn(target.repository)).toEqual([manifest.restorePointId])
  })

  test('one that is damaged fails by itself; the next one builds on what is there', async () => {
    const { source, target, vm } = newPair()
    const first = await vm.backUp(source.repository)
    vm.fill('disk0', 0, 100, 5)
    const second = await vm.backUp(source.repository)
    vm.fill('disk0', 300 * KIB, 100, 6)
    const third = await vm.backUp(source.repository)
    damage(source, second, 0)
    const results: CopyResult[] = []
    const onResult = (result: CopyResult): number => results.push(result)
    const summary = await copyMissing(source.repository, target.repository, {}, { mover, onResult, ...call() })
    expect(summary).toEqual({ copied: 2, present: 0, gone: 0, failed: 1 })
    expect(results[1]).toMatchObject({
      outcome: 'failed',
      error: { code: 'repository.chunk_corrupt', details: { diskId: 'disk0', offsetBytes: 0 } },
    })
    expect(results[2]).toMatchObject({ sealed: { manifest: { parentRestorePointId: first.manifest.restorePointId } } })
    expect(await vm.restoresFrom(target.repository, third.manifest.restorePointId)).toBe(true)
  })

  test('a target that is full ends it with repository.no_space; what was copied stays, and with room it goes on', async () => {
    const { source, target, vm } = newPair({ capacityBytes: 700 * KIB })
    const first = await vm.backUp(source.repository)
    vm.fill('disk0', 0, 1024 * KIB, 8)
    await vm.backUp(source.repository)
    const copying = copyMissing(source.repository, target.repository, {}, { mover, ...call() })
    await expect(copying).rejects.toMatchObject({ code: 'repository.no_space' })
    expect(await idsIn(target.repository)).toEqual([first.manifest.restorePointId])
    const larger = openMemoryRepository(target.store)
    expect(await copyMissing(source.repository, larger, {}, { mover, ...call() })).toMatchObject({
      copied: 1,
      present: 1,
    })
  })

  test('chains that are full in the target are made shorter, not begun anew', async () => {
    const { source, target, vm } = newPair({ chainPointsMax: 2 })
    for (let round = 0; round < 5; round += 1) {
      vm.fill('disk0', 0, 100, round)
      await vm.backUp(source.repository)
    }
    await copyMissing(source.repository, target.repository, {}, { mover, ...call() })
    const copies = await Array.fromAsync(target.repository.listRestorePoints({}, call()))
    expect(copies.map(({ manifest }) => manifest.disks[0]?.mode)).toEqual([
      'full',
      ...Array<string>(4).fill('incremental'),
    ])
  })

  test('a point that is deleted before its turn is gone, not failed', async () => {
    const { source, target, vm } = newPair()
    await vm.backUp(source.repository)
    const second = await vm.backUp(source.repository)
    const results: CopyResult[] = []
    const onResult = (result: CopyResult): void => {
      if (results.push(result) === 1) source.store.points.delete(second.manifest.restorePointId)
    }
    expect(await copyMissing(source.repository, target.repository, {}, { mover, onResult, ...call() })).toMatchObject({
      copied: 1,
      gone: 1,
      failed: 0,
    })
  })

  test('cancelled, it rejects with the reason, and the target has whole restore points only', async () => {
    const { source, target, vm } = newPair()
    for (let round = 0; round < 3; round += 1) {
      vm.fill('disk0', 0, DISKS['disk0'] ?? 0, round + 1)
      await vm.backUp(source.repository)
    }
    const stop = new AbortController()
    const reason = new Error('enough')
    const onProgress = ({ pointsDone }: { readonly pointsDone: number }): void => {
      if (pointsDone === 1) stop.abort(reason)
    }
    const copying = copyMissing(source.repository, target.repository, {}, { mover, onProgress, signal: stop.signal })
    await expect(copying).rejects.toBe(reason)
    const ids = await idsIn(target.repository)
    expect(ids).toHaveLength(1)
    expect(await vm.restoresFrom(target.repository, ids[0] ?? '')).toBe(true)
    expect(await copyMissing(source.repository, target.repository, {}, { mover, ...call() })).toMatchObject({
      copied: 2,
    })
  })
})

/** The repository as an object whose methods can be replaced. */
function methodsOf(repository: Repository): Repository {
  const { repositoryId, kind, chunkSizeBytes, idKey } = repository
  return {
    repositoryId,
    kind,
    chunkSizeBytes,
    idKey,
    getCapacity: async (options) => await repository.getCapacity(options),
    listRestorePoints: (filter, options) => repository.listRestorePoints(filter, options),
    getRestorePoint: async (id, options) => await repository.getRestorePoint(id, options),
    isChainFull: async (id, options) => await repository.isChainFull(id, options),
    openBackup: async (backup, options) => await repository.openBackup(backup, options),
    openRestorePoint: async (id, options) => await repository.openRestorePoint(id, options),
    deleteRestorePoint: async (id, options) => await repository.deleteRestorePoint(id, options),
    [Symbol.asyncDispose]: async () => await repository[Symbol.asyncDispose](),
  }
}
