import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { newBackupOf, restoreAll } from './repository-scenario.ts'
import type { Repository } from './repository.ts'
import type { SealedManifest } from './restore-point-manifest.ts'
import { call, DISK_BYTES, Guest, type RepositoryFixture, sameBytes, UNIT_BYTES } from './scenario-guest.ts'

const notFound = { code: 'repository.restore_point_not_found' }

/** The contract of Repository.deleteRestorePoint and ChainCare as tests; part of `describeRepository`. */
export function describeDeletion(open: () => Promise<RepositoryFixture>): void {
  test.each([
    ['the oldest first', [0, 1, 2]],
    ['the newest first', [2, 1, 0]],
    ['the middle first', [1, 0, 2]],
  ])('points deleted, %s: all others restore byte for byte, after opening again too', async (_how, order) => {
    await using fixture = await open()
    let { repository } = fixture
    const left = await takeThree(repository, new Guest())
    const all = [...left]
    for (const index of order) {
      const gone = all[index]
      if (gone === undefined) throw new Error('three were taken')
      const { restorePointId } = gone.sealed.manifest
      await repository.deleteRestorePoint(restorePointId, call())
      left.splice(left.indexOf(gone), 1)
      await expectOnly(repository, left)
      repository = await fixture.reopen()
      await expectOnly(repository, left)
      await expect(repository.getRestorePoint(restorePointId, call())).rejects.toMatchObject(notFound)
      await expect(repository.openRestorePoint(restorePointId, call())).rejects.toMatchObject(notFound)
      await expect(repository.deleteRestorePoint(restorePointId, call())).rejects.toMatchObject(notFound)
    }
  })

  test('an increment is built on a point that was there before its neighbours went', async () => {
    await using fixture = await open()
    const { repository } = fixture
    const guest = new Guest()
    const [first, second] = await takeTwo(repository, guest)
    await repository.deleteRestorePoint(first.sealed.manifest.restorePointId, call())
    await guest.fill(6, 0x66)
    await guest.zero(1)
    const third = await guest.backUp(repository)
    expect(third.manifest).toMatchObject({ parentManifestHash: second.sealed.manifestHash })
    expect(third.manifest.disks[0]?.readBytes).toBe(UNIT_BYTES)
    await expectOnly(repository, [second, { sealed: third, model: guest.disk.bytes.slice() }])
  })

  test('after the newest point is gone the next one builds on the one before', async () => {
    await using fixture = await open()
    const { repository } = fixture
    const guest = new Guest()
    const [first, second] = await takeTwo(repository, guest)
    await repository.deleteRestorePoint(second.sealed.manifest.restorePointId, call())
    await expect(repository.openBackup(newBackupOf(guest.next('incremental')), call())).rejects.toMatchObject({
      code: 'repository.base_mismatch',
    })
    guest.parent = first.sealed.manifest.restorePointId
    await guest.fill(7, 0x77)
    const third = await guest.backUp(repository, 'compare')
    await expectOnly(repository, [first, { sealed: third, model: guest.disk.bytes.slice() }])
  })

  test('who has a point open reads on while it and its neighbours are deleted', async () => {
    await using fixture = await open()
    const { repository } = fixture
    const [first, second] = await takeTwo(repository, new Guest())
    await using reader = await repository.openRestorePoint(first.sealed.manifest.restorePointId, call())
    for (const { sealed } of [first, second]) {
      await repository.deleteRestorePoint(sealed.manifest.restorePointId, call())
    }
    const into = new Uint8Array(DISK_BYTES)
    await reader.disks.get('disk0')?.source.read(0, into, call())
    expect(sameBytes(into, first.model)).toBe(true)
  })

  test('a point of a VM that is being written, an unknown one, and an aborted call delete nothing', async () => {
    await using fixture = await open()
    const { repository } = fixture
    const guest = new Guest()
    const points = await takeTwo(repository, guest)
    const { restorePointId } = points[0].sealed.manifest
    {
      await using writer = await repository.openBackup(newBackupOf(guest.next('incremental')), call())
      const locked = repository.deleteRestorePoint(restorePointId, call())
      await expect(locked).rejects.toMatchObject({ code: 'repository.locked' })
      expect(writer.disks.size).toBe(1)
    }
    await expect(repository.deleteRestorePoint(randomUUID(), call())).rejects.toMatchObject(notFound)
    const aborted = { signal: AbortSignal.abort(new Error('asked to stop')) }
    await expect(repository.deleteRestorePoint(restorePointId, aborted)).rejects.toThrow('asked to stop')
    await expectOnly(repository, points)
    await using writer = await repository.openBackup(newBackupOf(guest.next('incremental')), call())
    expect(writer.disks.size).toBe(1)
  })

  test('points of other VMs, and of the same VM in several chains, are not touched', async () => {
    await using fixture = await open()
    const { repository } = fixture
    const [guest, other] = [new Guest(), new Guest()]
    const [first, second] = await takeTwo(repository, guest)
    const others = await takeTwo(repository, other)
    const full = { sealed: await guest.backUp(repository, 'full'), model: guest.disk.bytes.slice() }
    expect(full.sealed.manifest.parentRestorePointId).toBeUndefined()
    await repository.deleteRestorePoint(first.sealed.manifest.restorePointId, call())
    await expectOnly(repository, [second, ...others, full])
  })

  test('a full chain is made room on without the source, and nothing of its points changes', async () => {
    await using fixture = await open()
    const { repository } = fixture
    if (repository.chainCare === undefined) return
    const guest = new Guest()
    const points = await takeThree(repository, guest)
    const newest = points[2]?.sealed.manifest.restorePointId ?? ''
    expect(await repository.isChainFull(newest, call())).toBe(true)
    await repository.chainCare.shorten(newest, call())
    expect(await repository.isChainFull(newest, call())).toBe(false)
    await expectOnly(repository, points)
    await guest.fill(9, 0x99)
    const next = await guest.backUp(repository)
    expect(next.manifest.disks[0]?.readBytes).toBe(UNIT_BYTES)
    points.push({ sealed: next, model: guest.disk.bytes.slice() })
    await expectOnly(await fixture.reopen(), points)
    await expect(repository.chainCare.shorten(randomUUID(), call())).rejects.toMatchObject(notFound)
  })
}

interface Taken {
  readonly sealed: SealedManifest
  readonly model: Uint8Array
}

async function takeTwo(repository: Repository, guest: Guest): Promise<[Taken, Taken]> {
  const taken = []
  for (const round of [0, 1]) {
    await guest.fill(round, round + 1, 3 * UNIT_BYTES)
    if (round > 0) await guest.zero(round - 1)
    taken.push({ sealed: await guest.backUp(repository), model: guest.disk.bytes.slice() })
  }
  const [first, second] = taken
  if (first === undefined || second === undefined) throw new Error('two rounds')
  return [first, second]
}

async function takeThree(repository: Repository, guest: Guest): Promise<Taken[]> {
  const taken = await takeTwo(repository, guest)
  await guest.fill(1, 0x33)
  await guest.zero(4)
  await guest.fill(12, 0x34, 100)
  return [...taken, { sealed: await guest.backUp(repository), model: guest.disk.bytes.slice() }]
}

async function expectOnly(repository: Repository, points: readonly Taken[]): Promise<void> {
  const listed = await Array.fromAsync(repository.listRestorePoints({}, call()))
  expect(listed.toSorted(byId)).toEqual(points.map(({ sealed }) => sealed).toSorted(byId))
  for (const { sealed, model } of points) {
    const restored = await restoreAll(repository, sealed.manifest.restorePointId, call())
    expect(sameBytes(restored.get('disk0'), model)).toBe(true)
  }
}

function byId(a: SealedManifest, b: SealedManifest): number {
  return a.manifest.restorePointId < b.manifest.restorePointId ? -1 : 1
}
