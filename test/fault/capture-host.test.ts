import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { JobRecord } from '@sendense/edge-agent/catalog/job-store.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CaptureSite, VM_NAME, within } from '../harness/capture-site.ts'
import { copyDisks, diskFile, expectSameContent } from '../harness/disk-images.ts'

let site: CaptureSite
let scratchDir = ''
let compared = 0
beforeAll(async () => {
  scratchDir = await mkdtemp(path.join(tmpdir(), 'sd-scratch-'))
  site = await CaptureSite.open({ patienceMs: 8000 })
})
afterAll(async () => {
  await site?.[Symbol.asyncDispose]()
  await rm(scratchDir, { recursive: true, force: true })
})

function pointOf(job: JobRecord): string {
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
  const copies = await copyDisks(site.vmPaths, directory)
  const restorePointId = pointOf(await site.backUp())
  await site.guest.writable()
  const point = await site.restorePoint(restorePointId)
  expect(point.disks.map((disk) => disk.reason)).toEqual([reason, reason])
  const name = `round-${compared}`
  expect(await site.restore(restorePointId, name)).toMatchObject({ state: 'succeeded' })
  const restored = await site.findVm(name)
  for (const [diskId, copy] of copies) await expectSameContent(copy, diskFile(restored, diskId))
  await rm(directory, { recursive: true })
}

/** What sessions made beside the disks of the guest. */
async function leftovers(): Promise<string[]> {
  return (await readdir(site.vmPaths.dir)).filter((name) => name.startsWith('sendense-'))
}

test('a VM of a host behind the tunnel is known with its host', async () => {
  const vm = await site.findVmContext(VM_NAME)
  expect(vm).toMatchObject({ hostName: 'kvm1', powerState: 'running', guestAgent: true, present: true })
  expect(await site.capture('status')).toMatch(/tunnel connected, 1 of 1 connections; the edge agent is here/)
})

test('a full backup and an incremental one, through the tunnel, are the source byte for byte', async () => {
  await expectRightBackup('FULL_FIRST')
  await expectRightBackup('INCREMENTAL')
  expect(await leftovers()).toEqual([])
})

test('a guest behind the tunnel is frozen for its backup', async () => {
  const { consistency } = await site.restorePoint(pointOf(await site.backUp()))
  expect(consistency).toBe('filesystem')
  expect(await readdir(site.marksDir)).toEqual([])
})

/** Begins a backup and pulls the wire while the guest is being frozen: nobody over here can tell it to thaw. */
async function cutWhileFrozen(): Promise<string> {
  const jobId = await site.startBackup()
  const isMarked = async () => (await readdir(site.marksDir)).length > 0
  await waitUntil('the guest to be about to be frozen', isMarked, { ...within(20_000), pauseMs: 1 })
  await site.network.unplug()
  return jobId
}

test('a wire that is pulled in mid-freeze: the guest is thawed over there, and the backup says it was not frozen', async () => {
  const jobId = await cutWhileFrozen()
  await waitUntil('the guest to be frozen', async () => await site.isGuestFrozen(), within(20_000))
  await waitUntil('the guest to be thawed', async () => !(await site.isGuestFrozen()), within(20_000))
  await site.network.plugIn()
  const { consistency } = await site.restorePoint(pointOf(await site.edge.jobEnded(jobId)))
  expect(consistency).toBe('crash')
  await expectRightBackup('INCREMENTAL')
})

test.each(['the capture agent', 'the capture agent and the one that thaws for it'])(
  'killed (-9) in mid-freeze: %s; the guest is thawed, and the backup goes on',
  async (victims) => {
    const jobId = await cutWhileFrozen()
    await waitUntil('the guest to be frozen', async () => await site.isGuestFrozen(), within(20_000))
    const keepers = victims.includes('thaws') ? await site.keeperPids() : []
    await site.killCapture()
    for (const pid of keepers) process.kill(pid, 'SIGKILL')
    expect(await site.isGuestFrozen()).toBe(victims.includes('thaws'))
    await site.network.plugIn()
    await site.startCapture()
    await waitUntil('the guest to be thawed', async () => !(await site.isGuestFrozen()), within(20_000))
    const job = await site.edge.jobEnded(jobId)
    expect(job.error).toBeUndefined()
    expect(job.state).toBe('succeeded')
    expect(await readdir(site.marksDir)).toEqual([])
    expect(await leftovers()).toEqual([])
  },
)
