import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { type S3Fault, startS3Double } from '../../../test/doubles/s3/s3-double.ts'
import { startCephObjectGateway } from '../../../test/harness/ceph-object-gateway.ts'
import { createMover } from '../../mover/create-mover.ts'
import { parseStoreConfig } from '../../object-store/object-store-config.ts'
import type { Repository } from '../repository.ts'
import { call } from '../scenario-guest.ts'
import { copyMissing, type CopyResult } from './copy-missing.ts'
import { CopiedVm } from './testing/copied-vm.ts'
import { makeChunkPlace, makePlace, openPlace } from './testing/repository-place.ts'

const execute = promisify(execFile)
const KIB = 1024
const mover = createMover({ threadsMax: 1, memoryBytes: 64 * KIB * KIB })
afterAll(async () => await mover[Symbol.asyncDispose]())

let root: string
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sd-'))
})
afterEach(async () => await rm(root, { recursive: true, force: true }))

/** Three backups of a VM, each of other bytes. */
async function backUpThree(repository: Repository): Promise<CopiedVm> {
  const vm = new CopiedVm()
  for (let round = 0; round < 3; round += 1) {
    for (let at = 0; at < 9; at += 1) vm.fill('disk0', (round + at) * 100 * KIB, 64 * KIB, 10 * round + at + 1)
    await vm.backUp(repository)
  }
  return vm
}

async function expectAll(repository: Repository, vm: CopiedVm): Promise<void> {
  const points = await Array.fromAsync(repository.listRestorePoints({}, call()))
  expect(points.map(({ manifest }) => manifest.restorePointId)).toEqual([...vm.models.keys()])
  for (const id of vm.models.keys()) expect(await vm.restoresFrom(repository, id)).toBe(true)
}

test('QCOW2 chains go to Ceph and come back', async () => {
  await using ceph = await startCephObjectGateway()
  const { endpoint, credentials } = ceph
  const bucket = `bucket-${randomUUID()}`
  const client = new S3Client({ endpoint, credentials: { ...credentials }, region: 'us-east-1', forcePathStyle: true })
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  client.destroy()
  await using source = await openPlace(await makePlace('chain', root, 64 * KIB))
  await using back = await openPlace(await makePlace('chain', root, 256 * KIB))
  const store = parseStoreConfig({ kind: 's3', bucket, endpoint, credentials })
  await using target = await openPlace(await makeChunkPlace(store, 128 * KIB))
  const vm = await backUpThree(source)
  expect(await copyMissing(source, target, {}, { mover, ...call() })).toMatchObject({ copied: 3, failed: 0 })
  await expectAll(target, vm)
  expect(await copyMissing(target, back, {}, { mover, ...call() })).toMatchObject({ copied: 3, failed: 0 })
  await expectAll(back, vm)
})

test('a storage whose answers fail now and then gets all; one that is lost in the middle gets the rest when it is back', async () => {
  const random = seededRandom(7)
  let mode: 'sound' | 'flaky' | 'lost' = 'sound'
  let putsLeft = 0
  const fault = (operation: string): S3Fault | undefined => {
    if (mode === 'flaky') return random() < 0.05 ? 'late-reset' : undefined
    if (mode === 'sound' || operation !== 'PutObject') return undefined
    putsLeft -= 1
    return putsLeft < 0 ? 'reset' : undefined
  }
  await using double = await startS3Double({ fault })
  const { endpoint, credentials } = double
  const store = parseStoreConfig({ kind: 's3', bucket: double.createBucket({}), endpoint, credentials })
  await using source = await openPlace(await makePlace('chunks', root, 64 * KIB))
  await using target = await openPlace(await makeChunkPlace(store, 128 * KIB))
  const vm = await backUpThree(source)
  const [first = ''] = vm.models.keys()

  // The lease and one pack are put before the connection is lost.
  mode = 'lost'
  putsLeft = 2
  const results: CopyResult[] = []
  await copyMissing(source, target, {}, { mover, onResult: (result) => results.push(result), ...call() })
  const failure = { outcome: 'failed', error: { code: 'repository.io_failed' } }
  expect(results).toMatchObject([failure, failure, failure])
  mode = 'sound'
  expect(await Array.fromAsync(target.listRestorePoints({}, call()))).toEqual([])

  mode = 'flaky'
  expect(await copyMissing(source, target, {}, { mover, ...call() })).toMatchObject({ copied: 3, failed: 0 })
  mode = 'sound'
  expect(await vm.restoresFrom(target, first)).toBe(true)
  await expectAll(target, vm)
})

test('a file system that is full ends the set with repository.no_space; what was copied restores, and with room it goes on', async () => {
  const small = path.join(root, 'small')
  await mkdir(small)
  await execute('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'none', small])
  try {
    await using source = await openPlace(await makePlace('chunks', root, 64 * KIB))
    await using target = await openPlace(await makePlace('chain', small, 64 * KIB))
    const vm = new CopiedVm()
    for (let round = 0; round < 9; round += 1) {
      vm.fill('disk0', 0, 1024 * KIB, round + 1)
      await vm.backUp(source)
    }
    const copying = copyMissing(source, target, {}, { mover, ...call() })
    await expect(copying).rejects.toMatchObject({ code: 'repository.no_space' })
    const points = await Array.fromAsync(target.listRestorePoints({}, call()))
    expect(points.length).toBeGreaterThan(0)
    for (const { manifest } of points) expect(await vm.restoresFrom(target, manifest.restorePointId)).toBe(true)
    await execute('mount', ['-o', 'remount,size=64m', small])
    await copyMissing(source, target, {}, { mover, ...call() })
    await expectAll(target, vm)
  } finally {
    await execute('umount', [small])
  }
})
