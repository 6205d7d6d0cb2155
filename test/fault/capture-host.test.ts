import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { JobRecord } from '@sendense/edge-agent/catalog/job-store.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { within } from '../harness/capture-machine.ts'
import { CaptureSite, VM_NAME } from '../harness/capture-site.ts'
import { copyDisks, diskFile, expectSameContent } from '../harness/disk-images.ts'
import { partialBytes } from './mid-backup.ts'

let site: CaptureSite
let scratchDir = ''
let compared = 0
let restored = 0
beforeAll(async () => {
  scratchDir = await mkdtemp(path.join(tmpdir(), 'sd-scratch-'))
  site = await CaptureSite.open()
})
afterEach(async () => await site?.machine.network.plugIn())
afterAll(async () => {
  await site?.[Symbol.asyncDispose]()
  await rm(scratchDir, { recursive: true, force: true })
})

function pointOf(job: JobRecord): string {
  expect(job.error).toBeUndefined()
  expect(job).toMatchObject({ state: 'succeeded', result: { kind: 'backup' } })
  return job.result?.kind === 'backup' ? job.result.restorePointId : ''
}

/** Backs up a guest at rest, restores it through the tunnel too, and compares every byte. */
async function expectRightBackup(reason: string): Promise<void> {
  compared += 1
  await site.guest.run(
    `echo ${compared} >/var/lib/round; /usr/sbin/blkdiscard -z -o ${compared * 1048576} -l 1048576 /dev/vdb`,
  )
  await site.guest.readOnly()
  const directory = path.join(scratchDir, `round-${compared}`)
  await mkdir(directory)
  const copies = await copyDisks(site.vm, directory)
  const restorePointId = pointOf(await site.backUp())
  await site.guest.writable()
  const point = await site.restorePoint(restorePointId)
  expect(point.disks.map((disk) => disk.reason)).toEqual([reason, reason])
  expect(point.consistency).toBe('filesystem')
  await expectRestored(restorePointId, copies)
}

/** Through the tunnel, to the host it came from. */
async function expectRestored(restorePointId: string, copies: ReadonlyMap<string, string>): Promise<void> {
  restored += 1
  const name = `restored-${restored}`
  expect(await site.restore(restorePointId, name)).toMatchObject({ state: 'succeeded' })
  const vm = await site.machine.findVm(name)
  for (const [diskId, copy] of copies) await expectSameContent(copy, diskFile(vm, diskId))
  await site.machine.kvm('delete', name)
}

/** What sessions made beside the disks of the guest. */
async function leftovers(): Promise<string[]> {
  return (await readdir(site.vm.dir)).filter((name) => name.startsWith('sendense-'))
}

test('a VM of a host behind the tunnel is known with its host', async () => {
  const vm = await site.findVmContext(VM_NAME)
  expect(vm).toMatchObject({ hostName: 'kvm1', powerState: 'running', guestAgent: true, present: true })
  expect(await site.machine.capture('status')).toMatch(/tunnel connected, 1 of 1 connections; the edge agent is here/)
})

test('a full backup and an incremental one, through the tunnel, are the source byte for byte', async () => {
  await expectRightBackup('FULL_FIRST')
  await expectRightBackup('INCREMENTAL')
  expect(await leftovers()).toEqual([])
})

/** Begins a backup and pulls the wire while the guest is being frozen: nobody over here can tell it to thaw. */
async function cutWhileFrozen(): Promise<string> {
  const jobId = await site.startBackup()
  const isMarked = async () => (await readdir(site.machine.marksDir)).length > 0
  await waitUntil('the guest to be about to be frozen', isMarked, { ...within(20_000), pauseMs: 1 })
  await site.machine.network.unplug()
  await waitUntil('the guest to be frozen', async () => await site.machine.isGuestFrozen(site.vm), within(20_000))
  return jobId
}

test('a wire that is pulled in mid-freeze: the guest is thawed over there, and the backup says it was not frozen', async () => {
  const jobId = await cutWhileFrozen()
  await expectThawed()
  await site.machine.network.plugIn()
  const { consistency } = await site.restorePoint(pointOf(await site.edge.jobEnded(jobId)))
  expect(consistency).toBe('crash')
})

test('the capture agent is killed (-9) in mid-freeze: the guest is thawed without it, and the backup goes on', async () => {
  const jobId = await cutWhileFrozen()
  await site.machine.killCapture()
  await expectThawed()
  await site.machine.network.plugIn()
  await site.machine.startCapture()
  expect(pointOf(await site.edge.jobEnded(jobId))).not.toBe('')
  await expectNothingLeft()
})

test('it is killed together with what thaws for it: the guest is thawed when it is back', async () => {
  const jobId = await cutWhileFrozen()
  const keepers = await site.machine.keeperPids(site.vm)
  await site.machine.killCapture()
  for (const pid of keepers) process.kill(pid, 'SIGKILL')
  expect(await site.machine.isGuestFrozen(site.vm)).toBe(true)
  await site.machine.network.plugIn()
  await site.machine.startCapture()
  await expectThawed()
  expect(pointOf(await site.edge.jobEnded(jobId))).not.toBe('')
  await expectNothingLeft()
})

async function expectThawed(): Promise<void> {
  await waitUntil('the guest to be thawed', async () => !(await site.machine.isGuestFrozen(site.vm)), within(20_000))
}

/** Cuts all connections once a VM in the making has some data; true when it was still in the making then. */
async function cutMidRestore(): Promise<boolean> {
  const root = path.dirname(site.vm.dir)
  const findDraft = async () => (await readdir(root)).find((name) => name.startsWith('.creating-'))
  const isWriting = async () => {
    const draft = await findDraft()
    if (draft === undefined) return false
    const { blocks } = await stat(path.join(root, draft, 'disk0.qcow2'))
    return blocks * 512 > 4 * 1024 * 1024
  }
  await waitUntil('the restore to write', isWriting, { ...within(60_000), pauseMs: 2 })
  await site.tunnel.disconnect(site.captureAgentId)
  return (await findDraft()) !== undefined
}

/** Nothing of a first try that was cut off stays. */
async function expectNothingLeft(): Promise<void> {
  expect(await readdir(site.machine.marksDir)).toEqual([])
  expect(await leftovers()).toEqual([])
}

/** Begins a backup with much to copy, slowly, and resolves when some of it was written. */
async function beginCopying(): Promise<string> {
  await site.guest.run('dd if=/dev/urandom of=/dev/vdb bs=1M count=24 conv=notrunc,fsync 2>/dev/null')
  const jobId = await site.startBackup({ readRateMaxBytesPerSecond: 4 * 1024 * 1024 })
  const isWriting = async () => (await partialBytes(site.repositoryDir)) > 1024 * 1024
  await waitUntil('the backup to write', isWriting, { ...within(60_000), pauseMs: 5 })
  return jobId
}

test('in mid-backup the connections are cut, the wire is pulled, the capture agent is killed: it goes on, and is right', async () => {
  await site.guest.readOnly()
  const jobId = await beginCopying()
  const copies = await copyDisks(site.vm, await mkdtemp(path.join(scratchDir, 'cut-')))
  const cuts = [
    async () => await site.tunnel.disconnect(site.captureAgentId),
    async () => {
      await site.machine.network.unplug()
      await delay(1000)
      await site.machine.network.plugIn()
    },
    async () => {
      await site.machine.killCapture()
      await site.machine.startCapture()
    },
  ]
  for (const cut of cuts) {
    expect(await site.jobState(jobId)).toBe('running')
    const before = await partialBytes(site.repositoryDir)
    await cut()
    const goesOn = async () => (await partialBytes(site.repositoryDir)) > before
    await waitUntil('the backup to go on', goesOn, { ...within(60_000), pauseMs: 5 })
  }
  const restorePointId = pointOf(await site.edge.jobEnded(jobId))
  await site.guest.writable()
  await expectNothingLeft()
  // And so does its restore.
  const [, isCut] = await Promise.all([expectRestored(restorePointId, copies), cutMidRestore()])
  expect(isCut).toBe(true)
})

test('a host that is away for longer than the patience: the backup says so, and later nothing of it is left', async () => {
  await site.setPatience(2000)
  const jobId = await beginCopying()
  await site.machine.killCapture()
  const job = await site.edge.jobEnded(jobId)
  expect(job).toMatchObject({ state: 'failed', error: { code: 'source.unreachable' } })
  expect(await leftovers()).not.toEqual([])
  await site.machine.startCapture()
  await waitUntil('leftovers to be cleared', async () => (await leftovers()).length === 0, within(20_000))
  await expectRightBackup('INCREMENTAL')
})
