import { mkdir, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { isFinalJobState } from '@sendense/shared/domain/job-state.ts'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { copyDisks, diskFile, expectSameContent } from '../harness/disk-images.ts'
import { openTestStack, type TestStack } from '../harness/test-stack.ts'
import { manifestsOf, partialFiles, stopMidBackup, within } from './mid-backup.ts'

let product: TestStack
let compared = 0

beforeAll(async () => {
  product = await openTestStack({ name: 'interrupted-backup' })
  await product.guest.restWorkload()
  await changeDisk1()
  await product.owner.backUp(product.vm.vmId)
})
afterAll(async () => await product?.[Symbol.asyncDispose]())

/** Enough that copying it takes a while. */
async function changeDisk1(): Promise<void> {
  await product.guest.run('dd if=/dev/urandom of=/dev/vdb bs=1M count=64 conv=notrunc,fsync 2>/dev/null')
}

/** The next backup builds on the last point and restores to what the source is then. */
async function expectNextBackupIsRight(): Promise<RestorePointView> {
  const { guest, host, owner, vm, scratchDir } = product
  compared += 1
  await guest.run(
    `echo ${compared} >/var/lib/round; /usr/sbin/blkdiscard -z -o ${compared * 1024 * 1024} -l 1048576 /dev/vdb`,
  )
  await guest.readOnly()
  const directory = path.join(scratchDir, `round-${compared}`)
  await mkdir(directory)
  const copies = await copyDisks(host, directory)
  const [newest] = await owner.restorePoints(vm.vmId)
  const point = await owner.backUp(vm.vmId)
  await guest.writable()
  expect(point.parentRestorePointId).toBe(newest?.restorePointId)
  const name = `round-${compared}`
  await owner.restore(point.restorePointId, name, { start: false })
  const restored = await product.findHostVm(name)
  for (const [diskId, copy] of copies) await expectSameContent(copy, diskFile(restored, diskId))
  await rm(directory, { recursive: true })
  return point
}

/** Neither beside the VM's disks nor in the repository lies anything of an unfinished backup. */
async function expectNoLeftovers(): Promise<void> {
  expect(await partialFiles(product.stack.paths.repositoryDir)).toEqual([])
  const expected = ['console.log', 'disk0.qcow2', 'disk1.qcow2', 'qemu.pid', 'vm.json']
  const { disks } = product.host.config
  const files = new Set([...expected, ...disks.map((disk) => disk.file), 'console.log.previous'])
  expect((await readdir(product.host.dir)).filter((name) => !files.has(name))).toEqual([])
}

async function expectGuestRuns(): Promise<void> {
  await product.guest.run('date >/var/lib/alive; sync')
}

describe.each([
  { how: 'killed (-9)', when: 'an incremental', mode: 'auto' as const, isKilled: true },
  { how: 'killed (-9)', when: 'a full backup', mode: 'full' as const, isKilled: true },
  { how: 'asked to stop', when: 'an incremental', mode: 'auto' as const, isKilled: false },
])('the agent is $how in the middle of $when', ({ mode, isKilled }) => {
  let jobId = ''
  let before: string[] = []

  test('no half restore point is listed, and the guest runs on', async () => {
    await changeDisk1()
    before = await manifestsOf(product)
    const agent = await stopMidBackup(product, mode)
    jobId = agent.jobId
    if (isKilled) await product.process('agent').kill()
    else {
      const stopping = product.process('agent').stop()
      agent.resume()
      await stopping
    }
    await expectGuestRuns()
    expect(await manifestsOf(product)).toEqual(before)
    expect(await product.owner.restorePoints(product.vm.vmId)).toHaveLength(before.length)
  })

  test('after its restart the job is resumed, or has failed and says so', async () => {
    await product.process('agent').start(within(60_000))
    const job = await product.owner.waitForEnd(jobId)
    expect(['succeeded', 'failed: job.interrupted']).toContain(
      job.state === 'failed' ? `failed: ${job.error?.code}` : job.state,
    )
    expect(job.log.length).toBeGreaterThan(0)
    const points = await product.owner.restorePoints(product.vm.vmId)
    expect(points).toHaveLength(before.length + (job.state === 'succeeded' ? 1 : 0))
    await expectGuestRuns()
    await expectNoLeftovers()
  })

  test('the checkpoint still serves: the next backup is incremental and right', async () => {
    const point = await expectNextBackupIsRight()
    expect(point.disks.map((disk) => disk.mode)).toEqual(['incremental', 'incremental'])
  })
})

describe('the agent is killed (-9) when the restore point has just been sealed', () => {
  test('the point is listed once, and the next backup is right', async () => {
    const { owner, vm } = product
    await changeDisk1()
    const before = await manifestsOf(product)
    const { jobId } = await owner.startBackup(vm.vmId)
    const isSealed = async () => (await manifestsOf(product)).length > before.length
    await waitUntil('the manifest', isSealed, { ...within(60_000), pauseMs: 1 })
    await product.process('agent').kill()
    await expectGuestRuns()
    await product.process('agent').start(within(60_000))
    const job = await owner.waitForEnd(jobId)
    expect(job.state).toBe('succeeded')
    const points = await owner.restorePoints(vm.vmId)
    expect(points.filter((point) => point.jobId === jobId)).toHaveLength(1)
    expect(points).toHaveLength(before.length + 1)
    await expectNoLeftovers()
    await expectNextBackupIsRight()
  })
})

describe("the agent's own database is gone in the middle of a backup", () => {
  test('when it is back the job ends, and the next backup is right', async () => {
    await changeDisk1()
    const agent = await stopMidBackup(product, 'auto')
    await product.process('mariadb').kill()
    agent.resume()
    await expectGuestRuns()
    await product.process('mariadb').start(within(60_000))
    const job = await product.owner.waitForEnd(agent.jobId)
    expect(isFinalJobState(job.state)).toBe(true)
    await expectNextBackupIsRight()
    await expectNoLeftovers()
  })
})

describe.each(['broker', 'cloud', 'postgres'] as const)('%s: gone in the middle of a backup', (name) => {
  beforeEach(async () => await changeDisk1())

  test('the backup ends all the same, and its result arrives when it is back', async () => {
    const { owner, vm } = product
    const before = await manifestsOf(product)
    const agent = await stopMidBackup(product, 'auto')
    await product.process(name).stop()
    agent.resume()
    const isSealed = async () => (await manifestsOf(product)).length === before.length + 1
    await waitUntil('the agent to end the backup alone', isSealed, within(120_000))

    await product.process(name).start(within(60_000))
    const job = await owner.waitForEnd(agent.jobId)
    expect(isFinalJobState(job.state)).toBe(true)
    expect(job).toMatchObject({ state: 'succeeded', error: null, result: { kind: 'backup' } })
    const [newest] = await owner.restorePoints(vm.vmId)
    expect(newest?.jobId).toBe(agent.jobId)
    await expectNextBackupIsRight()
  })
})
