import { randomUUID } from 'node:crypto'
import type { AgentCommandOf } from '@sendense/shared/contracts/agent-command.ts'
import type { BackupReason } from '@sendense/shared/domain/backup-reason.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { describe, expect, test } from 'vitest'
import { type BackupStep, backupSteps } from '../backup/backup-steps.ts'
import { type RestoreStep, restoreSteps } from '../restore/restore-flow.ts'
import {
  createSimulatedAgent,
  createSimulatedSite,
  type SimulatedAgent,
  type SimulatedSite,
} from './simulated-agent.ts'

const signal = AbortSignal.timeout(120_000)
const SIZE_BYTES = 1024 * 1024
const GRAIN_BYTES = 65_536

interface Machine {
  readonly site: SimulatedSite
  readonly platformRef: string
}

function createMachine(): Machine {
  const site = createSimulatedSite()
  const disks = [
    { diskId: 'disk0', sizeBytes: SIZE_BYTES },
    { diskId: 'disk1', sizeBytes: SIZE_BYTES / 2 },
  ]
  return { site, platformRef: site.hypervisor.addVm({ name: 'web-1', disks }) }
}

async function write({ site, platformRef }: Machine, diskId: string, grain: number, fill: number): Promise<void> {
  const bytes = new Uint8Array(GRAIN_BYTES).fill(fill)
  await site.hypervisor.disk(platformRef, diskId).write(grain * GRAIN_BYTES, bytes, { signal })
}

async function contentOf({ site }: Machine, platformRef: string): Promise<Record<string, string>> {
  const content: Record<string, string> = {}
  for (const [diskId, { content: disk }] of site.hypervisor.get(platformRef).disks) {
    const bytes = new Uint8Array(disk.sizeBytes)
    await disk.read(0, bytes, { signal })
    content[diskId] = Buffer.from(bytes).toString('latin1')
  }
  return content
}

async function vmIdOf({ site, platformRef }: Machine): Promise<string> {
  const vm = await site.catalogue.transaction(async (tx) => await tx.vms.findByRef('kvm', platformRef), { signal })
  return vm?.vmId ?? ''
}

async function backupCommand(machine: Machine): Promise<AgentCommandOf<'backup-vm'>> {
  const vmId = await vmIdOf(machine)
  const repositoryId = machine.site.storage.repositoryId
  return { type: 'backup-vm', jobId: randomUUID(), vmId, repositoryId, mode: 'auto', quiesce: false }
}

async function backUp(agent: SimulatedAgent, machine: Machine) {
  const command = await backupCommand(machine)
  await agent.order(command)
  return await agent.jobEnded(command.jobId)
}

async function restore(agent: SimulatedAgent, machine: Machine, restorePointId: string, newVmName: string) {
  const { repositoryId } = machine.site.storage
  const jobId = randomUUID()
  await agent.order({ type: 'restore-vm', jobId, restorePointId, repositoryId, newVmName, start: true })
  return await agent.jobEnded(jobId)
}

async function restoredContent(agent: SimulatedAgent, machine: Machine, restorePointId: string) {
  const name = `restored-${randomUUID().slice(0, 8)}`
  const job = await restore(agent, machine, restorePointId, name)
  expect(job.error).toBeUndefined()
  const vm = machine.site.hypervisor.list().find((other) => other.description.name === name)
  return await contentOf(machine, vm?.platformRef ?? '')
}

/** A process that is killed when it has done a step for the first time. */
function createDoomedAgent(site: SimulatedSite, last: BackupStep | RestoreStep) {
  const { promise: dead, resolve: tell } = Promise.withResolvers<void>()
  const agent = createSimulatedAgent(site, {
    onStep: async (step) => {
      if (step !== last) return
      tell()
      await new Promise(() => undefined)
    },
  })
  return { agent, dead }
}

const sealedBefore: ReadonlySet<BackupStep> = new Set(['sealed', 'catalogued', 'committed'])

describe('the agent is killed in the middle of a backup', () => {
  test.each(backupSteps)(
    'after step %s: one true restore point, nothing half, and the next increment is right',
    async (step) => {
      const machine = createMachine()
      const { site, platformRef } = machine
      const first = createSimulatedAgent(site)
      await first.start()
      for (let grain = 0; grain < 8; grain++) await write(machine, 'disk0', grain, 1 + grain)
      await write(machine, 'disk1', 0, 50)
      expect((await backUp(first, machine)).state).toBe('succeeded')
      await first.stop()

      await write(machine, 'disk0', 3, 100)
      const atFreeze = await contentOf(machine, platformRef)
      const doomed = createDoomedAgent(site, step)
      await doomed.agent.start()
      const command = await backupCommand(machine)
      await doomed.agent.order(command)
      await doomed.dead

      await write(machine, 'disk0', 5, 101)
      await write(machine, 'disk1', 1, 102)
      const atRestart = await contentOf(machine, platformRef)
      const agent = createSimulatedAgent(site)
      await agent.start()
      const killed = await agent.jobEnded(command.jobId)
      expect(killed.state).toBe('succeeded')
      const point = killed.result?.kind === 'backup' ? killed.result.restorePointId : ''
      const wanted = sealedBefore.has(step) ? atFreeze : atRestart
      expect(await restoredContent(agent, machine, point)).toEqual(wanted)

      await write(machine, 'disk0', 7, 103)
      await site.hypervisor.disk(platformRef, 'disk0').writeZeroes(3 * GRAIN_BYTES, GRAIN_BYTES, { signal })
      const last = await backUp(agent, machine)
      const lastPoint = last.result?.kind === 'backup' ? last.result.restorePointId : ''
      expect(await restoredContent(agent, machine, lastPoint)).toEqual(await contentOf(machine, platformRef))
      const points = await site.catalogue.transaction(async (tx) => await tx.restorePoints.list({ limit: 10 }), {
        signal,
      })
      const reason: BackupReason = step === 'sealed' ? 'RECOVERED' : 'INCREMENTAL'
      expect(points[0]?.disks.map((disk) => disk.reason)).toEqual([reason, reason])
      expect(points.map((entry) => entry.restorePointId)).toEqual(
        expect.arrayContaining([...site.storage.points.keys()]),
      )
      expect(points).toHaveLength(3)
      for (const disk of site.hypervisor.get(platformRef).disks.values()) expect(disk.checkpoints.size).toBe(1)
      expect(site.hypervisor.get(platformRef).sessions.size).toBe(0)
      const sealed = (await agent.events()).filter((event) => event.type === 'restore-point-sealed')
      expect(new Set(sealed.map((event) => event.restorePoint.restorePointId)).size).toBe(sealed.length)
      expect(sealed).toHaveLength(3)
      await agent.stop()
    },
  )

  test('again and again: after three runs it is failed with a clear code, and the old base still serves', async () => {
    const machine = createMachine()
    const { site } = machine
    const first = createSimulatedAgent(site)
    await first.start()
    await write(machine, 'disk0', 1, 1)
    await backUp(first, machine)
    await first.stop()
    await write(machine, 'disk0', 2, 2)
    let command: AgentCommandOf<'backup-vm'> | undefined
    for (let life = 0; life < 3; life++) {
      const doomed = createDoomedAgent(site, 'copied')
      await doomed.agent.start()
      command ??= await backupCommand(machine)
      if (life === 0) await doomed.agent.order(command)
      await doomed.dead
    }
    const agent = createSimulatedAgent(site)
    await agent.start()
    const job = await agent.jobEnded(command?.jobId ?? '')
    expect(job).toMatchObject({ state: 'failed', attempt: 3, error: { code: 'job.interrupted' } })
    expect(site.storage.points.size).toBe(1)
    const next = await backUp(agent, machine)
    const point = next.result?.kind === 'backup' ? next.result.restorePointId : ''
    expect(next.result).toMatchObject({ readBytes: GRAIN_BYTES })
    expect(await restoredContent(agent, machine, point)).toEqual(await contentOf(machine, machine.platformRef))
    await agent.stop()
  })
})

test('the repository is away after the agent was killed: the dead session is ended all the same', async () => {
  const machine = createMachine()
  const { site, platformRef } = machine
  const doomed = createDoomedAgent(site, 'copied')
  await doomed.agent.start()
  const command = await backupCommand(machine)
  await doomed.agent.order(command)
  await doomed.dead
  expect(site.hypervisor.get(platformRef).sessions.size).toBe(1)
  const agent = createSimulatedAgent(site, {
    openRepository: async () => {
      throw new PlatformError('repository.missing', 'not mounted')
    },
  })
  await agent.start()
  expect(site.hypervisor.get(platformRef).sessions.size).toBe(0)
  const disks = [...site.hypervisor.get(platformRef).disks.values()]
  expect(disks.map(({ checkpoints }) => checkpoints.size)).toEqual([1, 1])
  await agent.stop()
})

describe('the agent is killed in the middle of a restore', () => {
  test.each(restoreSteps)('after step %s: one whole VM of that name, and nothing else', async (step) => {
    const machine = createMachine()
    const { site, platformRef } = machine
    const first = createSimulatedAgent(site)
    await first.start()
    await write(machine, 'disk0', 2, 9)
    const backup = await backUp(first, machine)
    await first.stop()
    const restorePointId = backup.result?.kind === 'backup' ? backup.result.restorePointId : ''
    const { repositoryId } = site.storage
    const doomed = createDoomedAgent(site, step)
    await doomed.agent.start()
    const jobId = randomUUID()
    await doomed.agent.order({
      type: 'restore-vm',
      jobId,
      restorePointId,
      repositoryId,
      newVmName: 'web-2',
      start: true,
    })
    await doomed.dead

    const agent = createSimulatedAgent(site)
    await agent.start()
    expect(await agent.jobEnded(jobId)).toMatchObject({ state: 'succeeded', result: { vmName: 'web-2' } })
    const made = site.hypervisor.list().filter((vm) => vm.platformRef !== platformRef)
    expect(made.map((vm) => vm.description.name)).toEqual(['web-2'])
    expect(await contentOf(machine, made[0]?.platformRef ?? '')).toEqual(await contentOf(machine, platformRef))
    expect(site.hypervisor.drafts.size).toBe(0)
    const vms = await site.catalogue.transaction(async (tx) => await tx.vms.list(), { signal })
    expect(vms.find((vm) => vm.name === 'web-2')?.restoredFrom).toEqual({ restorePointId, jobId })
    await agent.stop()
  })
})

test('an agent that is stopped in order puts its running jobs back, and the next one ends them', async () => {
  const machine = createMachine()
  const { promise: opened, resolve: reached } = Promise.withResolvers<void>()
  const first = createSimulatedAgent(machine.site, {
    onStep: async (step) => {
      if (step !== 'reconciled') return
      reached()
      await new Promise((resolve) => setTimeout(resolve, 20))
    },
  })
  await first.start()
  await write(machine, 'disk0', 0, 1)
  const command = await backupCommand(machine)
  await first.order(command)
  await opened
  await first.stop()
  const waiting = await machine.site.catalogue.transaction(async (tx) => await tx.jobs.find(command.jobId), { signal })
  expect(waiting?.state).toBe('queued')
  const second = createSimulatedAgent(machine.site)
  await second.start()
  expect((await second.jobEnded(command.jobId)).state).toBe('succeeded')
  await second.stop()
})
