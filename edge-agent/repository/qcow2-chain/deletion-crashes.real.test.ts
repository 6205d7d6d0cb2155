import { spawn } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exportSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Repository } from '../repository.ts'
import { deleteSteps } from './chain-context.ts'
import { ChainScene, deadline, SealedFiles } from './chain-scene.ts'
import type { DyingDeleterOrder } from './dying-deleter.ts'
import { folders } from './repository-layout.ts'
import { makeTemporaryRepository, type TemporaryRepository } from './temporary-repository.ts'

const DISK_BYTES = 1024 * 1024
const script = fileURLToPath(new URL('dying-deleter.ts', import.meta.url))
const shortenSteps = deleteSteps.filter(
  (step) => !['manifest-unlinked', 'manifest-gone', 'old-layers-removed'].includes(step),
)

/** The deleter is killed at one step after another, in one repository: what each death leaves the next one meets. */
describe('a process killed with SIGKILL while it deletes and merges', () => {
  const scene = new ChainScene({ disk0: DISK_BYTES, disk1: DISK_BYTES / 4 })
  let place: TemporaryRepository
  let files: SealedFiles

  beforeAll(async () => {
    place = await makeTemporaryRepository(deadline())
    files = new SealedFiles(place.dir)
    await using repository = await place.open()
    for (let count = 0; count < 4; count += 1) await takePoint(repository)
  })
  afterAll(async () => await place[Symbol.asyncDispose]())

  // Of two disks, and points on both sides: some steps are met more than once.
  const twice = ['merge-copied', 'merged-checked', 'placement-durable', 'points-switched'] as const
  test.each([...deleteSteps.map((step) => [step, 0] as const), ...twice.map((step) => [step, 1] as const)])(
    'at %s, survived %i times: exactly the deleted point is gone, all others restore byte for byte, and nothing is left over',
    async (dieAt, survive) => {
      const gone = scene.points[randomInt(1, scene.points.length - 1)]
      if (gone === undefined) throw new Error('there are enough points')
      await runDying({ work: 'delete', restorePointId: gone.manifest.restorePointId, dieAt, survive })
      expect(scene.points).toContain(gone)
      scene.points = scene.points.filter((point) => point !== gone)
      await using repository = await place.open()
      await expectInOrder(repository)
      await takePoint(repository)
      await expectInOrder(repository)
    },
  )

  test.each(shortenSteps)('at %s of making a chain shorter: no point is gone or changed', async (dieAt) => {
    const newest = scene.points.at(-1)
    if (newest === undefined) throw new Error('there are enough points')
    const work = { work: 'shorten', restorePointId: newest.manifest.restorePointId, dieAt, survive: 0 } as const
    await runDying({ ...work, chainLayersMax: 2 })
    await using repository = await place.open({ chainLayersMax: 2 })
    await expectInOrder(repository)
    await repository.chainCare?.shorten(newest.manifest.restorePointId, deadline())
    expect(await repository.isChainFull(newest.manifest.restorePointId, deadline())).toBe(false)
    await takePoint(repository)
    await expectInOrder(repository)
  })

  async function takePoint(repository: Repository): Promise<void> {
    for (const disk of scene.disks.values()) {
      await disk.write(randomInt(disk.sizeBytes / 2), randomBytes(disk.sizeBytes / 2), deadline())
      await disk.writeZeroes(randomInt(disk.sizeBytes - 70_000), 70_000, deadline())
    }
    await scene.take(repository)
  }

  async function expectInOrder(repository: Repository): Promise<void> {
    await scene.expectRestorable(repository)
    await files.expectUnchanged()
    expect(await readdir(join(place.dir, folders.partial))).toEqual([])
  }

  async function runDying(some: Partial<DyingDeleterOrder>): Promise<void> {
    const { dir, expectedRepositoryId, runtimeDir, idKey, signingKey } = place.options
    const order = {
      dir,
      repositoryId: expectedRepositoryId,
      runtimeDir,
      idKey: Buffer.from(idKey).toString('base64'),
      signingKey: exportSigningKey(signingKey),
      chainLayersMax: 32,
      ...some,
    }
    const orderFile = join(dir, '..', 'order.json')
    await writeFile(orderFile, JSON.stringify(order), { mode: 0o600 })
    const child = spawn(process.execPath, [script, orderFile], { stdio: ['ignore', 'inherit', 'inherit'] })
    const [exitCode, deathSignal] = await once(child, 'exit', { signal: AbortSignal.timeout(60_000) })
    expect({ exitCode, deathSignal }).toEqual({ exitCode: null, deathSignal: 'SIGKILL' })
  }
})
