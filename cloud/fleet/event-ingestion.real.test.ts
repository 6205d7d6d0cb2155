import { randomUUID } from 'node:crypto'
import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import type { VmReport } from '@sendense/shared/contracts/inventory.ts'
import type { JobReport } from '@sendense/shared/contracts/job.ts'
import type { RestorePointReport } from '@sendense/shared/contracts/restore-point.ts'
import { asc, eq } from 'drizzle-orm'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Database } from '../db/database.ts'
import { agent, agentEvent, command } from '../db/schema/fleet.ts'
import { alert, job, jobLog, repository, restorePoint, verification, vm } from '../db/schema/protection.ts'
import { quietLogger } from '../db/testing/test-database.ts'
import { seedCustomer, type SeededCustomer } from '../testing/seed-tenant.ts'
import { useSeededFleet } from '../testing/seeded-fleet.ts'
import { batchOf } from '../testing/test-agent.ts'
import { ingestEvents } from './event-ingestion.ts'
import { ReceivedMessage } from './received-message.ts'

const fleet = useSeededFleet()
let stranger: SeededCustomer

beforeEach(async () => {
  stranger = await seedCustomer(fleet.database, fleet.mspId, randomUUID())
})

async function ingest(
  first: number,
  events: AgentEvent[],
): Promise<{ sequence: number; liveEvents: readonly LiveEvent[] }> {
  return await ingestEvents(fleet.database, fleet.own.known, batchOf(fleet.own.agentId, first, events), {
    now: new Date(),
    logger: quietLogger,
  })
}

const now = () => new Date().toISOString()

const system: Database['withSystem'] = (reason, work, options) => fleet.database.withSystem(reason, work, options)

function alertEvent(): AgentEvent {
  const error = { code: 'command.replayed', message: 'm', advice: 'a', details: {} }
  return { type: 'alert-raised', alertId: randomUUID(), severity: 'warning', error }
}

function jobReport(change: Partial<JobReport> = {}): JobReport {
  return {
    jobId: randomUUID(),
    kind: 'backup',
    state: 'running',
    revision: 1,
    vmId: fleet.own.vmId,
    queuedAt: now(),
    attempt: 1,
    log: [],
    ...change,
  }
}

function pointReport(change: Partial<RestorePointReport> = {}): RestorePointReport {
  return {
    restorePointId: randomUUID(),
    vmId: fleet.own.vmId,
    vmName: 'vm',
    repositoryId: fleet.own.repositoryId,
    jobId: fleet.own.jobId,
    takenAt: now(),
    sealedAt: now(),
    consistency: 'filesystem',
    manifestHash: 'a'.repeat(64),
    disks: [
      {
        diskId: 'disk0',
        sizeBytes: 10,
        mode: 'full',
        reason: 'FULL_FIRST',
        readBytes: 10,
        writtenBytes: 8,
        zeroedBytes: 2,
        storedBytes: 9,
      },
    ],
    ...change,
  }
}

async function outcomes(): Promise<(readonly [number, string])[]> {
  const rows = await system('test', (tx) =>
    tx.select().from(agentEvent).where(eq(agentEvent.agentId, fleet.own.agentId)).orderBy(asc(agentEvent.sequence)),
  )
  return rows.filter((row) => row.sequence > 0).map((row) => [row.sequence, row.outcome] as const)
}

describe('order and repetition', () => {
  test('each event counts once, however often and in whatever overlap batches come', async () => {
    const events = Array.from({ length: 6 }, () => alertEvent())
    expect((await ingest(1, events.slice(0, 3))).sequence).toBe(3)
    expect((await ingest(1, events.slice(0, 3))).sequence).toBe(3)
    expect((await ingest(2, events.slice(1, 6))).sequence).toBe(6)
    expect(await outcomes()).toEqual([1, 2, 3, 4, 5, 6].map((sequence) => [sequence, 'applied']))
  })

  test('what comes behind a gap waits: nothing of it is acknowledged or applied', async () => {
    expect((await ingest(3, [alertEvent()])).sequence).toBe(0)
    const late = batchOf(fleet.own.agentId, 1, [alertEvent(), alertEvent(), alertEvent()])
    const holed = { ...late, events: late.events.filter((entry) => entry.sequence !== 2) }
    const ingested = await ingestEvents(fleet.database, fleet.own.known, holed, {
      now: new Date(),
      logger: quietLogger,
    })
    expect(ingested.sequence).toBe(1)
    expect(await outcomes()).toEqual([[1, 'applied']])
  })

  test('a batch that was kept and sent again does not make its agent look alive', async () => {
    const seenAt = async () => {
      const [row] = await system('test', (tx) => tx.select().from(agent).where(eq(agent.id, fleet.own.agentId)))
      return row?.lastSeenAt?.getTime()
    }
    const batch = batchOf(fleet.own.agentId, 1, [alertEvent()])
    const take = (at: number) =>
      ingestEvents(fleet.database, fleet.own.known, batch, { now: new Date(at), logger: quietLogger })
    await take(1000)
    expect((await take(2000)).sequence).toBe(1)
    expect(await seenAt()).toBe(1000)
  })

  test('two nodes that get the same batch at the same moment apply it once', async () => {
    const point = pointReport()
    const event: AgentEvent = { type: 'restore-point-sealed', restorePoint: point }
    const results = await Promise.all([ingest(1, [event]), ingest(1, [event]), ingest(1, [event])])
    expect(results.map((result) => result.sequence)).toEqual([1, 1, 1])
    expect(results.flatMap((result) => result.liveEvents).length).toBe(1)
  })
})

/** Of a job and a VM that nobody asks for. */
function jobEvent(queuedAt: string): unknown {
  const [jobId, vmId] = [randomUUID(), randomUUID()]
  const report = { jobId, kind: 'backup', state: 'running', revision: 1, vmId, queuedAt, attempt: 1, log: [] }
  return { type: 'job-reported', job: report }
}

/** With what one entry of a batch is changed. */
const unreadable: [string, { event?: unknown; at?: unknown }][] = [
  ['of a kind of the future', { event: { type: 'tape-ejected', slot: 7 } }],
  ['with a field too many', { event: { ...alertEvent(), more: true } }],
  ['that calls itself what no database keeps', { event: { type: 'a\u0000b' } }],
  ['that is nothing', { event: null }],
  ['of a year no database knows', { at: '0000-01-01T00:00:00.000Z' }],
  ['from before there were clocks', { at: '1969-12-31T23:59:59.999Z' }],
  ['of a day that is none', { at: '2026-02-30T00:00:00.000Z' }],
  ['without a time', { at: undefined }],
  ['whose job was queued in a year no database knows', { event: jobEvent('0000-01-01T00:00:00.000Z') }],
]

describe('events that are not understood', () => {
  test.each(unreadable)('one %s is refused alone, told, and does not hold up the others', async (_what, change) => {
    const batch = batchOf(fleet.own.agentId, 1, [alertEvent(), alertEvent(), alertEvent()])
    const [first, second, third] = batch.events
    const events = [first, { ...second, ...change }, third]
    const message = ReceivedMessage.parse({ ...batch, events })
    if (message.kind !== 'events') throw new Error('a batch is a batch')
    const options = { now: new Date(), logger: quietLogger }
    const { sequence, liveEvents } = await ingestEvents(fleet.database, fleet.own.known, message, options)
    expect(sequence).toBe(3)
    expect(await outcomes()).toEqual([
      [1, 'applied'],
      [2, 'input.invalid'],
      [3, 'applied'],
    ])
    const alerts = await system('test', (tx) => tx.select().from(alert).where(eq(alert.agentId, fleet.own.agentId)))
    const refusals = alerts.filter(({ error }) => ErrorReport.parse(error).code === 'agent.event_refused')
    expect(refusals).toMatchObject([{ severity: 'warning', acknowledgedAt: null }])
    const told = liveEvents.map((live) => (live.type === 'alert-raised' ? live.alertId : live.type))
    expect(told).toHaveLength(3)
    expect(told[1]).toBe(refusals[0]?.id)
  })

  test('an inventory that names a VM twice is refused alone', async () => {
    const machine: VmReport = {
      vmId: randomUUID(),
      platform: 'kvm',
      platformRef: 'r',
      name: 'twice',
      powerState: 'running',
      guestAgent: false,
      memoryBytes: 1,
      cpuCount: 1,
      disks: [],
    }
    const vms = [machine, machine]
    const inventory = { takenAt: now(), hostname: 'h', agentVersion: '0.1.0', vms, repositories: [] }
    expect((await ingest(1, [{ type: 'inventory-reported', inventory }, alertEvent()])).sequence).toBe(2)
    expect(await outcomes()).toEqual([
      [1, 'database.21000'],
      [2, 'applied'],
    ])
  })
})

describe('effects', () => {
  test('an alert is kept as it was raised and told once, however often its id comes', async () => {
    const event = alertEvent()
    if (event.type !== 'alert-raised') throw new Error('an alert is an alert')
    const { liveEvents } = await ingest(1, [event, { ...event, severity: 'info' }])
    const { alertId, severity, error } = event
    expect(liveEvents).toEqual([{ type: 'alert-raised', alertId, agentId: fleet.own.agentId, severity }])
    const rows = await system('test', (tx) => tx.select().from(alert).where(eq(alert.id, alertId)))
    expect(rows).toMatchObject([{ severity, error, agentId: fleet.own.agentId, customerId: fleet.own.customerId }])
  })

  test('an inventory replaces what was known; what it does not list is kept as not there', async () => {
    const vmId = randomUUID()
    const machine: VmReport = {
      vmId,
      platform: 'kvm',
      platformRef: 'r',
      name: 'new',
      hostName: 'kvm1',
      powerState: 'running',
      guestAgent: false,
      memoryBytes: 1,
      cpuCount: 1,
      disks: [],
    }
    const report = { takenAt: now(), hostname: 'renamed', agentVersion: '0.2.0', vms: [machine], repositories: [] }
    const { liveEvents } = await ingest(1, [{ type: 'inventory-reported', inventory: report }])
    expect(liveEvents).toEqual([{ type: 'inventory-changed', agentId: fleet.own.agentId }])
    const rows = await system('test', (tx) => tx.select().from(vm).where(eq(vm.agentId, fleet.own.agentId)))
    expect(new Map(rows.map((row) => [row.id, [row.present, row.hostName]]))).toEqual(
      new Map([
        [fleet.own.vmId, [false, null]],
        [vmId, [true, 'kvm1']],
      ]),
    )
    const [store] = await system('test', (tx) =>
      tx.select().from(repository).where(eq(repository.id, fleet.own.repositoryId)),
    )
    expect(store?.state).toBe('missing')
    const [known] = await system('test', (tx) => tx.select().from(agent).where(eq(agent.id, fleet.own.agentId)))
    expect(known).toMatchObject({ hostname: 'renamed', agentVersion: '0.2.0', eventHighMark: 1 })
  })

  test('a job follows its reports: newer revisions only, and what ended stays ended', async () => {
    const { jobId } = jobReport()
    const log = (sequence: number) => [{ sequence, at: now(), level: 'info' as const, step: 'copy', sentence: 's' }]
    const report = (change: Partial<JobReport>): AgentEvent => ({
      type: 'job-reported',
      job: jobReport({ jobId, ...change }),
    })
    await ingest(1, [report({ revision: 1, log: log(0) }), report({ revision: 0, state: 'queued', log: log(1) })])
    await ingest(3, [
      report({ revision: 2, state: 'queued' }),
      report({ revision: 3, state: 'succeeded', endedAt: now() }),
    ])
    const ended = await ingest(5, [report({ revision: 4, state: 'running' })])
    expect(ended.liveEvents).toEqual([])
    const [row] = await system('test', (tx) => tx.select().from(job).where(eq(job.id, jobId)))
    expect(row).toMatchObject({ state: 'succeeded', revision: 3, requestedBy: 'agent' })
    const entries = await system('test', (tx) => tx.select().from(jobLog).where(eq(jobLog.jobId, jobId)))
    expect(new Set(entries.map((entry) => entry.sequence))).toEqual(new Set([0, 1]))
  })

  test('a late report is still the truth about a job that the cloud gave up', async () => {
    await system('test', (tx) =>
      tx
        .update(job)
        .set({ state: 'failed', endedByCloud: true, revision: -1, commandId: fleet.own.commandId })
        .where(eq(job.id, fleet.own.jobId)),
    )
    await system('test', (tx) =>
      tx.update(command).set({ state: 'expired' }).where(eq(command.id, fleet.own.commandId)),
    )
    await ingest(1, [
      { type: 'job-reported', job: jobReport({ jobId: fleet.own.jobId, state: 'succeeded', revision: 2 }) },
    ])
    const [row] = await system('test', (tx) => tx.select().from(job).where(eq(job.id, fleet.own.jobId)))
    expect(row).toMatchObject({ state: 'succeeded', endedByCloud: false })
    const [order] = await system('test', (tx) => tx.select().from(command).where(eq(command.id, fleet.own.commandId)))
    expect(order?.state).toBe('succeeded')
  })

  test('a refused command ends the job it was for, with its reason', async () => {
    await system('test', async (tx) => {
      await tx.update(job).set({ state: 'queued', revision: -1 }).where(eq(job.id, fleet.own.jobId))
      await tx
        .update(command)
        .set({ jobId: fleet.own.jobId, type: 'backup-vm' })
        .where(eq(command.id, fleet.own.commandId))
    })
    const error = { code: 'command.expired', message: 'too late', advice: 'again', details: {} }
    const { liveEvents } = await ingest(1, [
      { type: 'command-reported', commandId: fleet.own.commandId, state: 'rejected', error },
    ])
    expect(liveEvents).toEqual([{ type: 'job-changed', jobId: fleet.own.jobId, vmId: fleet.own.vmId, state: 'failed' }])
    const [row] = await system('test', (tx) => tx.select().from(job).where(eq(job.id, fleet.own.jobId)))
    expect(row).toMatchObject({ state: 'failed', error })
  })

  test('restore points and their proofs are kept and told', async () => {
    const point = pointReport()
    const proof = {
      restorePointId: point.restorePointId,
      level: 'L2',
      outcome: 'passed',
      at: now(),
      checkedBytes: 10,
      summary: 'whole',
    } as const
    const { liveEvents } = await ingest(1, [
      { type: 'restore-point-sealed', restorePoint: point },
      { type: 'restore-point-verified', verification: proof },
    ])
    const { restorePointId, vmId } = point
    expect(liveEvents).toEqual([
      { type: 'restore-point-added', restorePointId, vmId },
      { type: 'restore-point-changed', restorePointId, vmId },
    ])
    const [row] = await system('test', (tx) =>
      tx.select().from(restorePoint).where(eq(restorePoint.id, restorePointId)),
    )
    expect(row).toMatchObject({ storedBytes: 9, customerId: fleet.own.customerId })
    const proofs = await system('test', (tx) =>
      tx.select().from(verification).where(eq(verification.restorePointId, restorePointId)),
    )
    expect(proofs.length).toBe(1)
  })

  test('a deleted one leaves the index with its proofs, once; of another agent nothing goes', async () => {
    const point = pointReport()
    const { restorePointId, vmId, repositoryId } = point
    const deletion = { type: 'restore-point-deleted', restorePointId, vmId, repositoryId, deletedAt: now() } as const
    const others = { ...deletion, restorePointId: stranger.restorePointId }
    const { liveEvents } = await ingest(1, [
      { type: 'restore-point-sealed', restorePoint: point },
      deletion,
      deletion,
      others,
    ])
    expect(liveEvents).toEqual([
      { type: 'restore-point-added', restorePointId, vmId },
      { type: 'restore-point-changed', restorePointId, vmId },
    ])
    const rows = await system('test', (tx) => tx.select({ id: restorePoint.id }).from(restorePoint))
    expect(rows.map(({ id }) => id)).not.toContain(restorePointId)
    expect(rows.map(({ id }) => id)).toContain(stranger.restorePointId)
  })
})

const everythingOf = (customer: SeededCustomer) =>
  system(
    'test',
    async (tx) => ({
      vms: await tx.select().from(vm),
      repositories: await tx.select().from(repository),
      points: await tx.select().from(restorePoint),
      proofs: await tx.select().from(verification),
      jobs: await tx.select().from(job),
      logs: await tx.select().from(jobLog),
      commands: await tx.select().from(command),
    }),
    { within: { mspId: fleet.mspId, customers: [customer.customerId] } },
  )

describe.each(['another customer', 'the same customer'])('an agent that lies about an agent of %s', (whose) => {
  beforeEach(async () => {
    if (whose === 'another customer') return
    stranger = await seedCustomer(fleet.database, fleet.mspId, 'second agent', fleet.own)
  })

  const forgeries: [string, () => AgentEvent][] = [
    [
      'a job of another agent',
      () => ({ type: 'job-reported', job: jobReport({ jobId: stranger.jobId, state: 'failed', revision: 99 }) }),
    ],
    ['a new job on a VM of another agent', () => ({ type: 'job-reported', job: jobReport({ vmId: stranger.vmId }) })],
    [
      'a command of another agent',
      () => ({ type: 'command-reported', commandId: stranger.commandId, state: 'succeeded' }),
    ],
    [
      'a restore point of a VM of another agent',
      () => ({ type: 'restore-point-sealed', restorePoint: pointReport({ vmId: stranger.vmId }) }),
    ],
    [
      'a restore point in a repository of another agent',
      () => ({ type: 'restore-point-sealed', restorePoint: pointReport({ repositoryId: stranger.repositoryId }) }),
    ],
    [
      'a proof of a restore point of another agent',
      () => ({
        type: 'restore-point-verified',
        verification: {
          restorePointId: stranger.restorePointId,
          level: 'L2',
          outcome: 'failed',
          at: now(),
          checkedBytes: 0,
          summary: 'x',
        },
      }),
    ],
    [
      'a VM of another agent',
      () => ({
        type: 'inventory-reported',
        inventory: {
          takenAt: now(),
          hostname: 'h',
          agentVersion: '1',
          repositories: [],
          vms: [
            {
              vmId: stranger.vmId,
              platform: 'kvm',
              platformRef: 'stolen',
              name: 'stolen',
              powerState: 'stopped',
              guestAgent: false,
              memoryBytes: 0,
              cpuCount: 0,
              disks: [],
            },
          ],
        },
      }),
    ],
    [
      'a repository of another agent',
      () => ({
        type: 'inventory-reported',
        inventory: {
          takenAt: now(),
          hostname: 'h',
          agentVersion: '1',
          vms: [],
          repositories: [
            {
              repositoryId: stranger.repositoryId,
              name: 'stolen',
              kind: 'qcow2-chain',
              location: '/x',
              state: 'failed',
              checkedAt: now(),
            },
          ],
        },
      }),
    ],
    [
      'a character no database keeps',
      () => ({
        type: 'job-reported',
        job: jobReport({ log: [{ sequence: 0, at: now(), level: 'info', step: 's', sentence: 'a\u0000b' }] }),
      }),
    ],
  ]

  test.each(forgeries)(
    '%s: refused alone, with no effect anywhere, and what follows is applied',
    async (_what, forge) => {
      const before = { own: await everythingOf(fleet.own), stranger: await everythingOf(stranger) }
      const { sequence, liveEvents } = await ingest(1, [forge(), alertEvent()])
      expect(sequence).toBe(2)
      const { agentId } = fleet.own
      const alertId = expect.any(String) as string
      expect(liveEvents).toEqual([
        { type: 'alert-raised', alertId, agentId, severity: 'warning' },
        { type: 'alert-raised', alertId, agentId, severity: 'warning' },
      ])
      const [first, second] = await outcomes()
      expect(first?.[1]).not.toBe('applied')
      expect(second?.[1]).toBe('applied')
      expect({ own: await everythingOf(fleet.own), stranger: await everythingOf(stranger) }).toEqual(before)
    },
  )
})
