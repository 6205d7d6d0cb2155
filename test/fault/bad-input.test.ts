import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { runCommand } from '@sendense/infra/processes/run-command.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { checkoutDir } from '@sendense/infra/stack/stack-paths.ts'
import type { JobDetailView, RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { copyDisks, diskFile, expectSameContent } from '../harness/disk-images.ts'
import { refusalOf } from '../harness/refusal.ts'
import { openTestStack, type TestStack, waitForVm } from '../harness/test-stack.ts'
import { backupOrder, connectBrokerPeer, tampered } from './broker-peer.ts'
import { CloudDatabase } from './cloud-database.ts'
import { manifestsOf, partialFiles, stopMidBackup, within } from './mid-backup.ts'
import { SmallStorage } from './small-storage.ts'

const MIB = 1024 * 1024

let product: TestStack
let storage: SmallStorage
let first: RestorePointView

beforeAll(async () => {
  product = await openTestStack({
    name: 'bad-input',
    prepare: async (stateDir) => {
      storage = await SmallStorage.mount(stateDir, 512 * MIB)
    },
    cleanUp: async () => await storage.unmount(),
  })
  await product.guest.restWorkload()
  await changeDisk1(48)
  first = await product.owner.backUp(product.vm.vmId)
})
afterAll(async () => await product?.[Symbol.asyncDispose]())

async function changeDisk1(mebibytes: number): Promise<void> {
  await product.guest.run(`dd if=/dev/urandom of=/dev/vdb bs=1M count=${mebibytes} conv=notrunc,fsync 2>/dev/null`)
}

/** The job a backup ended in, or the refusal in its place: an order may be refused here or there. */
async function failureOf(
  backup: Promise<{ jobId: string }>,
): Promise<{ code: string; message: string; advice: string }> {
  const started = await backup.catch(async (error: unknown) => await refusalOf(Promise.reject(error as Error)))
  if ('code' in started) return started
  const job: JobDetailView = await product.owner.waitForEnd(started.jobId)
  expect(job.state).toBe('failed')
  expect(job.log.some((entry) => entry.level === 'error')).toBe(true)
  if (job.error === null) throw new Error('a job that failed says why')
  return job.error
}

/** A backup now restores to what the source is now. */
async function expectBackupIsRight(name: string): Promise<RestorePointView> {
  const { guest, host, owner, vm, scratchDir } = product
  await guest.readOnly()
  const directory = path.join(scratchDir, name)
  await mkdir(directory)
  const copies = await copyDisks(host, directory)
  const point = await owner.backUp(vm.vmId)
  await guest.writable()
  await owner.restore(point.restorePointId, name, { start: false })
  const restored = await product.findHostVm(name)
  for (const [diskId, copy] of copies) await expectSameContent(copy, diskFile(restored, diskId))
  await rm(directory, { recursive: true })
  return point
}

async function kvm(...args: string[]): Promise<void> {
  const { kvmRoot, kvmRuntimeDir } = product.stack.paths
  const [verb = '', ...rest] = args
  const place = ['--root', kvmRoot, '--runtime-dir', kvmRuntimeDir]
  const cli = path.join(checkoutDir, 'edge-agent/cli/main.ts')
  await runCommand(process.execPath, [cli, 'kvm', verb, ...place, ...rest], within(60_000))
}

describe('orders for what is not there', () => {
  test.each([
    ['a VM', async () => await product.owner.startBackup(randomUUID())],
    ['a repository', async () => await product.owner.startBackup(product.vm.vmId, { repositoryId: randomUUID() })],
    ['a restore point', async () => await product.owner.restore(randomUUID(), 'nothing', { start: false })],
    ['a restore point to verify', async () => await product.owner.verify(randomUUID())],
  ])('%s that nobody knows is refused', async (_what, order) => {
    const refusal = await refusalOf(order())
    expect(refusal.code).toMatch(/^(resource\.not_found|repository\.restore_point_not_found)$/)
    expect(refusal.advice).not.toBe('')
  })

  test('a name that is taken is refused, and the VM that has it is untouched', async () => {
    const { owner, host } = product
    const refusal = await refusalOf(owner.restore(first.restorePointId, host.config.name, { start: false }))
    expect(refusal.code).toBe('target.vm_exists')
    expect((await product.findHostVm(host.config.name)).config.vmId).toBe(host.config.vmId)
  })

  test('a VM that does not run, and then one that was deleted, fail with their codes', async () => {
    const { owner } = product
    await owner.restore(first.restorePointId, 'short-lived', { start: false })
    const view = await waitForVm(owner.api, 'short-lived', () => true)
    expect((await failureOf(owner.startBackup(view.vmId))).code).toBe('source.vm_not_running')
    await rm((await product.findHostVm('short-lived')).dir, { recursive: true })
    expect((await failureOf(owner.startBackup(view.vmId))).code).toBe('source.vm_not_found')
  })
})

test('a second backup of a VM is refused while one runs, and the first ends well', async () => {
  const { owner, vm } = product
  await changeDisk1(48)
  const agent = await stopMidBackup(product, 'auto')
  expect((await refusalOf(owner.startBackup(vm.vmId))).code).toBe('job.already_running')
  agent.resume()
  expect((await owner.waitForEnd(agent.jobId)).state).toBe('succeeded')
})

describe('the repository', () => {
  test('without space fails the backup and lists nothing; with space the next is right', async () => {
    const { owner, vm, stack } = product
    await changeDisk1(64)
    const before = await manifestsOf(product)
    await storage.fill(8 * MIB)
    const failure = await failureOf(owner.startBackup(vm.vmId))
    expect(failure).toMatchObject({ code: 'repository.no_space', advice: expect.stringMatching(/space/i) as string })
    await storage.free()
    expect(await manifestsOf(product)).toEqual(before)
    expect(await owner.restorePoints(vm.vmId)).toHaveLength(before.length)
    expect(await partialFiles(stack.paths.repositoryDir)).toEqual([])
    const point = await expectBackupIsRight('after-no-space')
    expect(point.disks.map((disk) => disk.mode)).toEqual(['incremental', 'incremental'])
  })

  test('that is gone fails the backup and is shown as missing; back again it serves as before', async () => {
    const { owner, vm } = product
    await changeDisk1(4)
    const before = await manifestsOf(product)
    await storage.takeAway()
    expect((await failureOf(owner.startBackup(vm.vmId))).code).toBe('repository.missing')
    const stateOf = async () => (await owner.api.repository.list.query())[0]?.state
    await owner.api.agent.refreshInventory.mutate({ agentId: vm.agentId })
    await waitUntil('it to be shown as missing', async () => (await stateOf()) === 'missing', within(90_000))
    expect((await refusalOf(owner.startBackup(vm.vmId))).code).toBe('repository.missing')
    await storage.bringBack()
    await owner.api.agent.refreshInventory.mutate({ agentId: vm.agentId })
    await waitUntil('it to be shown as ready', async () => (await stateOf()) === 'ready', within(90_000))
    expect(await manifestsOf(product)).toEqual(before)
    const point = await expectBackupIsRight('after-missing')
    expect(point.disks.map((disk) => disk.mode)).toEqual(['incremental', 'incremental'])
  })

  test('with a damaged file fails verify and restore of its point, and only of those', async () => {
    const { owner, vm, stack } = product
    await changeDisk1(2)
    const whole = await owner.backUp(vm.vmId, { mode: 'full' })
    const layers = path.join(stack.paths.repositoryDir, 'layers', vm.vmId, 'disk1')
    const before = await readdir(layers)
    const damaged = await owner.backUp(vm.vmId, { mode: 'full' })
    const name = (await readdir(layers)).find((file) => !before.includes(file)) ?? ''
    await using file = await open(path.join(layers, name), 'r+')
    const { size } = await file.stat()
    await file.write(Buffer.from('damage'), 0, 6, Math.floor(size / 2))
    await file.sync()
    const { jobId } = await owner.api.job.startVerify.mutate({
      restorePointId: damaged.restorePointId,
      idempotencyKey: randomUUID(),
    })
    expect(await owner.waitForEnd(jobId)).toMatchObject({
      state: 'failed',
      error: { code: 'repository.chunk_corrupt' },
    })
    const { lastVerification } = await owner.api.restorePoint.get.query({ restorePointId: damaged.restorePointId })
    expect(lastVerification?.outcome).toBe('failed')
    await expect(owner.restore(damaged.restorePointId, 'damaged', { start: false })).rejects.toThrow(
      'repository.chunk_corrupt',
    )
    await expect(product.findHostVm('damaged')).rejects.toThrow('no VM damaged')
    expect((await owner.verify(whole.restorePointId)).state).toBe('succeeded')
  })
})

test('a disk that was resized is read in full, and comes back in its new size', async () => {
  const { owner, host, guest } = product
  await kvm('stop', host.config.name)
  await runCommand('qemu-img', ['resize', diskFile(host, 'disk1'), `${320 * MIB}`], within(30_000))
  await kvm('start', host.config.name)
  await waitForVm(owner.api, host.config.name, (view) => view.guestAgent && view.disks[1]?.sizeBytes === 320 * MIB)
  await guest.restWorkload()
  const point = await expectBackupIsRight('resized')
  expect(point.disks.map(({ reason, sizeBytes }) => [reason, sizeBytes])).toEqual([
    ['INCREMENTAL', 512 * MIB],
    ['FULL_RESIZED', 320 * MIB],
  ])
})

describe('orders that must not be carried out', () => {
  test('one whose time is over is not, and its job says so', async () => {
    await using database = new CloudDatabase(product)
    const before = await manifestsOf(product)
    await product.process('broker').stop()
    const { jobId } = await product.owner.startBackup(product.vm.vmId)
    await database.expireOrderOf(jobId)
    await product.process('broker').start(within(60_000))
    const job = await product.owner.waitForEnd(jobId)
    expect(job).toMatchObject({ state: 'failed', error: { code: 'command.expired' } })
    expect(await manifestsOf(product)).toEqual(before)
  })

  test('what a stranger on the broker changed, made up, repeated or kept back is refused with an alert', async () => {
    const { owner, vm } = product
    const { agentId } = vm
    await using database = new CloudDatabase(product)
    await using peer = await connectBrokerPeer(product)
    const before = await manifestsOf(product)
    const jobsBefore = (await owner.api.job.list.query({ limit: 200 })).length
    const next = (await database.commandSequence(agentId)) + 1

    await peer.publish(agentId, tampered(await peer.sign(await backupOrder(product, next))))
    await peer.publish(agentId, await peer.sign(await backupOrder(product, next, { tenantId: randomUUID() })))
    await peer.publish(agentId, await peer.sign(await backupOrder(product, 1)))
    // The last, because it uses up the number the cloud will give next; behind a gap the agent takes none at all, so
    // it comes again and again.
    const publishExpired = async () => {
      const expiresAt = new Date(Date.now() - 1000).toISOString()
      await peer.publish(agentId, await peer.sign(await backupOrder(product, next, { expiresAt })))
    }
    const wanted = {
      'command.signature_invalid': 'critical',
      'command.wrong_audience': 'critical',
      'command.replayed': 'critical',
      'command.expired': 'warning',
    }
    const arrived = async () => {
      const { alerts } = await owner.api.alert.list.query({ agentId, state: 'open' })
      const severities = new Map(alerts.map((alert) => [alert.error.code, alert.severity]))
      if (!severities.has('command.expired')) await publishExpired()
      return Object.keys(wanted).every((code) => severities.has(code)) ? severities : undefined
    }
    const severities = await waitUntil(`alerts ${Object.keys(wanted).join(', ')}`, arrived, {
      ...within(60_000),
      pauseMs: 500,
    })
    expect(Object.fromEntries(severities)).toMatchObject(wanted)
    expect(await manifestsOf(product)).toEqual(before)
    expect(await owner.api.job.list.query({ limit: 200 })).toHaveLength(jobsBefore)
  })
})
