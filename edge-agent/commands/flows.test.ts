import { randomUUID } from 'node:crypto'
import type { AgentCommand } from '@sendense/shared/contracts/agent-command.ts'
import type { JobProgress } from '@sendense/shared/contracts/job.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { describe, expect, test } from 'vitest'
import { openMemoryRepository } from '../repository/memory/memory-repository.ts'
import {
  createSimulatedAgent,
  createSimulatedSite,
  type SimulatedAgent,
  type SimulatedAgentOptions,
  type SimulatedSite,
} from './simulated-agent.ts'

const signal = AbortSignal.timeout(60_000)
const SIZE_BYTES = 512 * 1024
const GRAIN_BYTES = 65_536

async function startAgent(options: SimulatedAgentOptions & { site?: SimulatedSite } = {}) {
  const site = options.site ?? createSimulatedSite()
  const platformRef = site.hypervisor.addVm({ name: 'web-1', disks: [{ diskId: 'disk0', sizeBytes: SIZE_BYTES }] })
  const agent = createSimulatedAgent(site, options)
  await agent.start()
  const vm = await site.catalogue.transaction(async (tx) => await tx.vms.findByRef('kvm', platformRef), { signal })
  const fill = async (grain: number, value: number) => {
    const bytes = new Uint8Array(GRAIN_BYTES).fill(value)
    await site.hypervisor.disk(platformRef, 'disk0').write(grain * GRAIN_BYTES, bytes, { signal })
  }
  return { site, agent, platformRef, vmId: vm?.vmId ?? '', fill }
}

type Setting = Awaited<ReturnType<typeof startAgent>>

function backupOf({ site, vmId }: Setting, more: { mode?: 'auto' | 'full'; quiesce?: boolean } = {}) {
  const { repositoryId } = site.storage
  return { type: 'backup-vm', jobId: randomUUID(), vmId, repositoryId, mode: 'auto', quiesce: false, ...more } as const
}

async function run(agent: SimulatedAgent, command: AgentCommand & { jobId: string }) {
  await agent.order(command)
  return await agent.jobEnded(command.jobId)
}

async function pointsOf({ site }: Setting) {
  return await site.catalogue.transaction(async (tx) => await tx.restorePoints.list({ limit: 50 }), { signal })
}

async function failedCommand(agent: SimulatedAgent, command: AgentCommand) {
  const commandId = await agent.order(command)
  const events = await agent.events()
  return events.findLast((event) => event.type === 'command-reported' && event.commandId === commandId)
}

describe('backup', () => {
  test('first full, then only what changed, each disk with its reason; asked for full is full', async () => {
    const setting = await startAgent()
    const { agent } = setting
    for (let grain = 0; grain < 4; grain++) await setting.fill(grain, 1)
    expect(await run(agent, backupOf(setting))).toMatchObject({ result: { readBytes: 4 * GRAIN_BYTES } })
    await setting.fill(2, 2)
    expect(await run(agent, backupOf(setting))).toMatchObject({ result: { readBytes: GRAIN_BYTES } })
    expect((await run(agent, backupOf(setting, { mode: 'full' }))).state).toBe('succeeded')
    const disks = (await pointsOf(setting)).map((point) => `${point.disks[0]?.mode} ${point.disks[0]?.reason}`)
    expect(disks).toEqual(['full FULL_REQUESTED', 'incremental INCREMENTAL', 'full FULL_FIRST'])
    await agent.stop()
  })

  test('a clock that is set back: the new point is the newest all the same, and increments go on', async () => {
    let setBackMs = 0
    const now = () => new Date(Date.now() - setBackMs)
    const setting = await startAgent({ clock: { ...systemClock, now } })
    const { agent } = setting
    await setting.fill(0, 1)
    const jobs = [await run(agent, backupOf(setting))]
    setBackMs = 3_600_000
    for (const grain of [1, 2]) {
      await setting.fill(grain, 2)
      jobs.push(await run(agent, backupOf(setting)))
    }
    const points = await pointsOf(setting)
    expect(points.map((point) => point.jobId)).toEqual(jobs.map((job) => job.jobId).toReversed())
    expect(points.map((point) => point.disks[0]?.reason)).toEqual(['INCREMENTAL', 'INCREMENTAL', 'FULL_FIRST'])
    expect(jobs.at(-1)).toMatchObject({ result: { readBytes: GRAIN_BYTES } })
    await agent.stop()
  })

  test('lost tracking compares; a catalogue that disagrees with the manifest compares too', async () => {
    const setting = await startAgent()
    const { agent, site, vmId } = setting
    await setting.fill(0, 1)
    await run(agent, backupOf(setting))
    site.hypervisor.loseTracking(setting.platformRef)
    await setting.fill(1, 2)
    await run(agent, backupOf(setting))
    await site.catalogue.transaction(
      async (tx) => {
        const tracking = (await tx.vms.find(vmId))?.disks[0]?.tracking
        if (tracking === undefined) throw new Error('no tracking')
        await tx.vms.setTracking(vmId, new Map([['disk0', { ...tracking, manifestHash: '0'.repeat(64) }]]))
      },
      { signal },
    )
    await setting.fill(2, 3)
    const job = await run(agent, backupOf(setting))
    expect(job.result).toMatchObject({ readBytes: 3 * GRAIN_BYTES })
    const reasons = (await pointsOf(setting)).map((point) => point.disks[0]?.reason)
    expect(reasons).toEqual(['COMPARE_TRACKING_LOST', 'COMPARE_TRACKING_LOST', 'FULL_FIRST'])
    await agent.stop()
  })

  test('room is made on a chain that is full, so that the guest is not read in full', async () => {
    const setting = await startAgent({
      openRepository: async (storage) => openMemoryRepository(storage, { chainPointsMax: 2 }),
    })
    await setting.fill(0, 1)
    for (let count = 0; count < 3; count++) await run(setting.agent, backupOf(setting))
    const reasons = (await pointsOf(setting)).map((point) => point.disks[0]?.reason)
    expect(reasons).toEqual(['INCREMENTAL', 'INCREMENTAL', 'FULL_FIRST'])
    await setting.agent.stop()
  })

  test('a chain that is full and cannot be made shorter begins anew, and says so', async () => {
    const setting = await startAgent({
      openRepository: async (storage) => {
        const repository = openMemoryRepository(storage, { chainPointsMax: 2 })
        const noSpace = new PlatformError('repository.no_space', 'there is no room')
        const shorten = async (): Promise<void> => await Promise.reject(noSpace)
        return Object.defineProperty(repository, 'chainCare', { value: { shorten } })
      },
    })
    await setting.fill(0, 1)
    for (let count = 0; count < 3; count++) await run(setting.agent, backupOf(setting))
    const reasons = (await pointsOf(setting)).map((point) => point.disks[0]?.reason)
    expect(reasons).toEqual(['FULL_CHAIN_LIMIT', 'INCREMENTAL', 'FULL_FIRST'])
    const logged = (await setting.agent.events()).flatMap((event) =>
      event.type === 'job-reported' ? event.job.log.map(({ sentence }) => sentence) : [],
    )
    expect(logged).toContain('The chain of increments cannot be made shorter: there is no room')
    await setting.agent.stop()
  })

  test('reports state, sealed point and usage in order, and answers for its command', async () => {
    const progress: JobProgress[] = []
    const setting = await startAgent({ progress: { report: (entry) => progress.push(entry) } })
    await setting.fill(0, 1)
    const command = backupOf(setting)
    const commandId = await setting.agent.order(command)
    await setting.agent.jobEnded(command.jobId)
    const events = await setting.agent.events()
    const states = events.flatMap((event) => (event.type === 'job-reported' ? [event.job.state] : []))
    expect([...new Set(states)]).toEqual(['queued', 'running', 'succeeded'])
    const revisions = events.flatMap((event) => (event.type === 'job-reported' ? [event.job.revision] : []))
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b))
    const sentences = events.flatMap((event) => (event.type === 'job-reported' ? event.job.log : []))
    expect(sentences.map((entry) => entry.sequence)).toEqual(sentences.map((_, index) => index))
    expect(sentences.some((entry) => entry.sentence.includes('First backup of this disk'))).toBe(true)
    const facts = events.flatMap((event) => (event.type === 'usage-measured' ? event.facts : []))
    expect(facts.map((fact) => fact.meter)).toEqual(['protected-vm', 'stored-bytes', 'ingress-bytes'])
    expect(events.at(-1)).toEqual({ type: 'command-reported', commandId, state: 'succeeded' })
    expect(progress.map((entry) => entry.phase)).toEqual(expect.arrayContaining(['prepare', 'freeze', 'copy', 'seal']))
    await setting.agent.stop()
  })

  test('a second one of the same VM fails at once and does not disturb the first', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    const setting = await startAgent({ onStep: async (step) => (step === 'opened' ? await held : undefined) })
    await setting.fill(0, 1)
    const first = backupOf(setting)
    await setting.agent.order(first)
    const second = await run(setting.agent, backupOf(setting))
    expect(second).toMatchObject({ state: 'failed', attempt: 0, error: { code: 'job.already_running' } })
    release()
    expect((await setting.agent.jobEnded(first.jobId)).state).toBe('succeeded')
    await setting.agent.stop()
  })

  test('cancelled in the middle it leaves no restore point, and the next one is right', async () => {
    const { promise: opened, resolve: reached } = Promise.withResolvers<void>()
    let hold = true
    const setting = await startAgent({
      onStep: async (step) => {
        if (step !== 'opened' || !hold) return
        reached()
        await new Promise((resolve) => setTimeout(resolve, 30))
      },
    })
    await setting.fill(0, 1)
    const command = backupOf(setting)
    await setting.agent.order(command)
    await opened
    hold = false
    await setting.agent.order({ type: 'cancel-job', jobId: command.jobId })
    const job = await setting.agent.jobEnded(command.jobId)
    expect(job).toMatchObject({ state: 'cancelled', error: { code: 'internal.cancelled' } })
    expect(setting.site.storage.points.size).toBe(0)
    expect((await run(setting.agent, backupOf(setting))).state).toBe('succeeded')
    await setting.agent.stop()
  })
})

test('the answer to every commit gets lost: each thing happens once all the same', async () => {
  const setting = await startAgent()
  const { agent, site } = setting
  site.catalogue.answersLost = true
  await setting.fill(0, 1)
  expect(await run(agent, backupOf(setting))).toMatchObject({ state: 'succeeded', attempt: 1 })
  await setting.fill(1, 2)
  expect((await run(agent, backupOf(setting))).result).toMatchObject({ readBytes: GRAIN_BYTES })
  const [point] = await pointsOf(setting)
  const { repositoryId } = site.storage
  const of = { restorePointId: point?.restorePointId ?? '', repositoryId }
  const verify = { type: 'verify-restore-point', jobId: randomUUID(), ...of } as const
  expect((await run(agent, verify)).state).toBe('succeeded')
  const restore = { type: 'restore-vm', jobId: randomUUID(), newVmName: 'web-2', start: true, ...of } as const
  expect(await run(agent, restore)).toMatchObject({ state: 'succeeded', attempt: 1 })
  expect(site.storage.points.size).toBe(2)
  expect(site.hypervisor.list()).toHaveLength(2)
  const sealed = (await agent.events()).filter((event) => event.type === 'restore-point-sealed')
  expect(sealed).toHaveLength(2)
  await agent.stop()
})

describe('bad input has a clear code, and nothing is lost', () => {
  test('unknown VM', async () => {
    const setting = await startAgent()
    const event = await failedCommand(setting.agent, { ...backupOf(setting), vmId: randomUUID() })
    expect(event).toMatchObject({ state: 'failed', error: { code: 'source.vm_not_found' } })
    await setting.agent.stop()
  })

  test('unknown repository, restore point, job', async () => {
    const setting = await startAgent()
    const { agent, site } = setting
    const job = await run(agent, { ...backupOf(setting), repositoryId: randomUUID() })
    expect(job.error?.code).toBe('repository.missing')
    const { repositoryId } = site.storage
    const verify = {
      type: 'verify-restore-point',
      jobId: randomUUID(),
      restorePointId: randomUUID(),
      repositoryId,
    } as const
    expect(await failedCommand(agent, verify)).toMatchObject({ error: { code: 'repository.restore_point_not_found' } })
    const cancel = await failedCommand(agent, { type: 'cancel-job', jobId: randomUUID() })
    expect(cancel).toMatchObject({ error: { code: 'job.not_found' } })
    await agent.stop()
  })

  test('a job that has ended cannot be cancelled', async () => {
    const setting = await startAgent()
    const ended = await run(setting.agent, backupOf(setting))
    const event = await failedCommand(setting.agent, { type: 'cancel-job', jobId: ended.jobId })
    expect(event).toMatchObject({ state: 'failed', error: { code: 'job.not_cancellable' } })
    await setting.agent.stop()
  })

  test('a repository that is away fails the backup, and serves again when it is back', async () => {
    let away = true
    const setting = await startAgent({
      openRepository: async (storage) => {
        if (away) throw new PlatformError('repository.missing', 'the mount is gone')
        return openMemoryRepository(storage)
      },
    })
    expect((await run(setting.agent, backupOf(setting))).error?.code).toBe('repository.missing')
    away = false
    expect((await run(setting.agent, backupOf(setting))).state).toBe('succeeded')
    await setting.agent.stop()
  })

  test('no space: no restore point, and the old base still serves', async () => {
    let capacityBytes = 10 * GRAIN_BYTES
    const setting = await startAgent({
      openRepository: async (storage) => openMemoryRepository(storage, { capacityBytes }),
    })
    const { agent, site } = setting
    await setting.fill(0, 1)
    await run(agent, backupOf(setting))
    await agent.stop()
    capacityBytes = 0
    const poor = createSimulatedAgent(site, {
      openRepository: async (storage) => openMemoryRepository(storage, { capacityBytes }),
    })
    await poor.start()
    await setting.fill(1, 2)
    expect((await run(poor, backupOf(setting))).error?.code).toBe('repository.no_space')
    await poor.stop()
    const rich = createSimulatedAgent(site)
    await rich.start()
    expect((await run(rich, backupOf(setting))).result).toMatchObject({ readBytes: GRAIN_BYTES })
    await rich.stop()
  })

  test('a name that is taken', async () => {
    const setting = await startAgent()
    const { agent, site } = setting
    await run(agent, backupOf(setting))
    const [point] = await pointsOf(setting)
    const restorePointId = point?.restorePointId ?? ''
    const { repositoryId } = site.storage
    const wanted = {
      type: 'restore-vm',
      jobId: randomUUID(),
      restorePointId,
      repositoryId,
      newVmName: 'web-1',
      start: false,
    } as const
    expect((await run(agent, wanted)).error?.code).toBe('target.vm_exists')
    expect(site.hypervisor.list()).toHaveLength(1)
    await agent.stop()
  })
})

describe('restore and verify', () => {
  test('a VM that does not come up fails the job and stays for people to look at', async () => {
    const setting = await startAgent({ boots: () => false })
    const { agent, site } = setting
    await run(agent, backupOf(setting))
    const [point] = await pointsOf(setting)
    const restorePointId = point?.restorePointId ?? ''
    const { repositoryId } = site.storage
    const wanted = {
      type: 'restore-vm',
      jobId: randomUUID(),
      restorePointId,
      repositoryId,
      newVmName: 'web-2',
      start: true,
    } as const
    expect((await run(agent, wanted)).error?.code).toBe('target.boot_failed')
    expect(site.hypervisor.list()).toHaveLength(2)
    await agent.stop()
  })

  test('verify proves a whole point and finds a damaged one, with an alert', async () => {
    const setting = await startAgent()
    const { agent, site } = setting
    await setting.fill(0, 7)
    await run(agent, backupOf(setting))
    const [point] = await pointsOf(setting)
    const restorePointId = point?.restorePointId ?? ''
    const { repositoryId } = site.storage
    const verify = () => ({ type: 'verify-restore-point', jobId: randomUUID(), restorePointId, repositoryId }) as const
    const proven = (await run(agent, verify())).result
    expect(proven?.kind === 'verify' && proven.checkedBytes).toBeGreaterThanOrEqual(GRAIN_BYTES)
    expect((await pointsOf(setting))[0]?.verification).toMatchObject({ level: 'L2', outcome: 'passed' })
    const bytes = site.storage.points.get(restorePointId)?.disks.get('disk0')?.bytes
    if (bytes === undefined) throw new Error('no such disk')
    bytes[100] = (bytes[100] ?? 0) ^ 1
    expect((await run(agent, verify())).error?.code).toBe('repository.chunk_corrupt')
    expect((await pointsOf(setting))[0]?.verification).toMatchObject({ outcome: 'failed' })
    expect((await agent.events()).some((event) => event.type === 'alert-raised' && event.severity === 'critical')).toBe(
      true,
    )
    await agent.stop()
  })

  test('a restore that meets a damaged chunk tells it of the point, once, and makes no VM', async () => {
    const setting = await startAgent()
    const { agent, site } = setting
    await setting.fill(0, 7)
    await run(agent, backupOf(setting))
    const [point] = await pointsOf(setting)
    const restorePointId = point?.restorePointId ?? ''
    const { repositoryId } = site.storage
    const bytes = site.storage.points.get(restorePointId)?.disks.get('disk0')?.bytes
    if (bytes === undefined) throw new Error('no such disk')
    bytes[100] = (bytes[100] ?? 0) ^ 1
    const of = { restorePointId, repositoryId }
    const wanted = { type: 'restore-vm', jobId: randomUUID(), ...of, newVmName: 'web-2', start: false } as const
    expect((await run(agent, wanted)).error?.code).toBe('repository.chunk_corrupt')
    expect((await pointsOf(setting))[0]?.verification).toMatchObject({ level: 'L2', outcome: 'failed' })
    const events = await agent.events()
    expect(events.filter((event) => event.type === 'alert-raised')).toMatchObject([
      { severity: 'critical', error: { code: 'repository.chunk_corrupt', details: { restorePointId } } },
    ])
    expect(events.filter((event) => event.type === 'restore-point-verified')).toHaveLength(1)
    expect(site.hypervisor.list()).toHaveLength(1)
    await agent.stop()
  })
})
