import { randomUUID } from 'node:crypto'
import type { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import type { JobLogEntry } from '@sendense/shared/contracts/job.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeCaptureAgents } from './capture-agent-store.conformance.ts'
import type { Catalogue, CatalogueTransaction } from './catalogue.ts'
import type { JobRecord } from './job-store.ts'
import type { RestorePointRecord } from './restore-point-store.ts'
import type { VmContextFacts } from './vm-context-store.ts'

const HASH = 'ab'.repeat(32)

/** The contract of Catalogue as tests. `open` is called once; each test uses ids of its own. */
export function describeCatalogue(driver: string, open: () => Promise<Catalogue>): void {
  describe(`Catalogue conformance: ${driver}`, () => {
    const signal = AbortSignal.timeout(60_000)
    let catalogue: Catalogue
    const run = async <T>(work: (tx: CatalogueTransaction) => Promise<T>) =>
      await catalogue.transaction(work, { signal })
    beforeAll(async () => {
      catalogue = await open()
    })
    afterAll(async () => {
      await catalogue?.[Symbol.asyncDispose]()
    })

    describe('transactions', () => {
      test('what a rejected transaction did is gone, its event number included', async () => {
        const vm = newVm()
        const before = await run(async (tx) => await tx.outbox.highMark())
        const failing = run(async (tx) => {
          await tx.vms.put(vm)
          await tx.outbox.append(anEvent(), new Date())
          throw new Error('no')
        })
        await expect(failing).rejects.toThrow('no')
        expect(await run(async (tx) => await tx.vms.find(vm.vmId))).toBeUndefined()
        expect(await run(async (tx) => await tx.outbox.highMark())).toBe(before)
      })

      test('an aborted signal rejects with its reason', async () => {
        const reason = new Error('enough')
        const call = catalogue.transaction(async (tx) => await tx.vms.list(), { signal: AbortSignal.abort(reason) })
        await expect(call).rejects.toBe(reason)
      })

      test('appended events are announced after the commit, and only then', async () => {
        let heard = 0
        const stop = catalogue.onEventsAppended(() => (heard += 1))
        await run(async (tx) => {
          await tx.outbox.append(anEvent(), new Date())
          expect(heard).toBe(0)
        })
        expect(heard).toBe(1)
        await run(async (tx) => await tx.vms.list())
        stop()
        await run(async (tx) => await tx.outbox.append(anEvent(), new Date()))
        expect(heard).toBe(1)
      })
    })

    describe('outbox', () => {
      test('events of transactions at the same time are numbered without gaps and kept in order', async () => {
        const before = await run(async (tx) => await tx.outbox.highMark())
        const appended = await Promise.all(
          Array.from(
            { length: 12 },
            async () => await run(async (tx) => await tx.outbox.append(anEvent(), new Date())),
          ),
        )
        const wanted = Array.from({ length: 12 }, (_, index) => before + 1 + index)
        expect(appended.toSorted((a, b) => a - b)).toEqual(wanted)
        const kept = await run(async (tx) => await tx.outbox.list({ after: before, limit: 100 }))
        expect(kept.map((entry) => entry.sequence)).toEqual(wanted)
      })

      test('comes back as it was appended', async () => {
        const event = anEvent()
        const at = new Date('2026-01-02T03:04:05.678Z')
        const sequence = await run(async (tx) => await tx.outbox.append(event, at))
        const [entry] = await run(async (tx) => await tx.outbox.list({ after: sequence - 1, limit: 1 }))
        expect(entry).toEqual({ sequence, at, event })
      })

      test('an event the cloud would not understand is refused, and takes no number', async () => {
        const before = await run(async (tx) => await tx.outbox.highMark())
        const event: AgentEvent = { type: 'command-reported', commandId: 'no id', state: 'accepted' }
        await expect(run(async (tx) => await tx.outbox.append(event, new Date()))).rejects.toThrow('commandId')
        expect(await run(async (tx) => await tx.outbox.highMark())).toBe(before)
      })

      test('trimming removes what was acknowledged and never gives a number twice', async () => {
        const first = await run(async (tx) => await tx.outbox.append(anEvent(), new Date()))
        await run(async (tx) => await tx.outbox.trim(first))
        expect(await run(async (tx) => await tx.outbox.list({ after: 0, limit: 10 }))).toEqual([])
        expect(await run(async (tx) => await tx.outbox.append(anEvent(), new Date()))).toBe(first + 1)
      })

      test('moving behind a number keeps events and their order, without gaps', async () => {
        const events = [anEvent(), anEvent(), anEvent()]
        const high = await run(async (tx) => {
          await tx.outbox.trim(await tx.outbox.highMark())
          for (const event of events) await tx.outbox.append(event, new Date())
          return await tx.outbox.highMark()
        })
        await run(async (tx) => await tx.outbox.moveBehind(high + 100))
        const moved = await run(async (tx) => await tx.outbox.list({ after: 0, limit: 10 }))
        expect(moved.map((entry) => entry.sequence)).toEqual([high + 101, high + 102, high + 103])
        expect(moved.map((entry) => entry.event)).toEqual(events)
        expect(await run(async (tx) => await tx.outbox.highMark())).toBe(high + 103)
      })
    })

    describe('inbox', () => {
      test('a command is kept once, and its sequence is used up', async () => {
        const last = await run(async (tx) => await tx.inbox.lastSequence())
        const payload = newCommand(last + 1)
        const receivedAt = new Date('2026-01-02T03:04:05.678Z')
        await run(async (tx) => await tx.inbox.insert({ payload, state: 'received', receivedAt }))
        await run(async (tx) => await tx.inbox.setState(payload.commandId, 'dispatched'))
        await run(async (tx) => await tx.inbox.insert({ payload, state: 'received', receivedAt }))
        expect(await run(async (tx) => await tx.inbox.find(payload.commandId))).toEqual({
          payload,
          state: 'dispatched',
          receivedAt,
        })
        expect(await run(async (tx) => await tx.inbox.lastSequence())).toBe(last + 1)
      })

      test('lists what waits in order of sequence', async () => {
        const last = await run(async (tx) => await tx.inbox.lastSequence())
        const payloads = [newCommand(last + 1), newCommand(last + 2)]
        for (const payload of payloads) {
          await run(async (tx) => await tx.inbox.insert({ payload, state: 'received', receivedAt: new Date() }))
        }
        const waiting = await run(async (tx) => await tx.inbox.listReceived(10))
        expect(waiting.map((entry) => entry.payload.commandId)).toEqual(payloads.map((payload) => payload.commandId))
        await run(async (tx) => {
          for (const payload of payloads) await tx.inbox.setState(payload.commandId, 'failed')
        })
        expect(await run(async (tx) => await tx.inbox.listReceived(10))).toEqual([])
      })

      test('trimming removes old final commands only, and their sequences stay used up', async () => {
        const last = await run(async (tx) => await tx.inbox.lastSequence())
        const [done, waiting] = [newCommand(last + 1), newCommand(last + 2)]
        const receivedAt = new Date('2020-01-01T00:00:00.000Z')
        await run(async (tx) => {
          await tx.inbox.insert({ payload: done, state: 'succeeded', receivedAt })
          await tx.inbox.insert({ payload: waiting, state: 'dispatched', receivedAt })
          await tx.inbox.trim(new Date('2021-01-01T00:00:00.000Z'))
        })
        expect(await run(async (tx) => await tx.inbox.find(done.commandId))).toBeUndefined()
        expect(await run(async (tx) => await tx.inbox.find(waiting.commandId))).toBeDefined()
        expect(await run(async (tx) => await tx.inbox.lastSequence())).toBe(last + 2)
      })
    })

    describe('VM contexts', () => {
      test('come back as they were put; new facts keep the tracking of disks that stay', async () => {
        const vm = newVm()
        const restoredFrom = { restorePointId: randomUUID(), jobId: randomUUID() }
        await run(async (tx) => await tx.vms.put({ ...vm, restoredFrom }))
        const ref = vm.platformRef ?? ''
        expect(await run(async (tx) => await tx.vms.findByRef('kvm', ref))).toEqual({ ...vm, restoredFrom })
        const tracking = newTracking()
        await run(async (tx) => await tx.vms.setTracking(vm.vmId, new Map([['disk0', tracking]])))
        const disks = [{ diskId: 'disk0', sizeBytes: 8192, changeTracking: true }]
        await run(async (tx) => await tx.vms.put({ ...vm, name: 'renamed', disks }))
        const found = await run(async (tx) => await tx.vms.find(vm.vmId))
        expect(found?.name).toBe('renamed')
        expect(found?.disks).toEqual([{ ...disks[0], tracking }])
      })

      test('setting the tracking takes it from disks that are not named', async () => {
        const vm = newVm()
        const tracking = newTracking()
        await run(async (tx) => {
          await tx.vms.put(vm)
          await tx.vms.setTracking(
            vm.vmId,
            new Map([
              ['disk0', tracking],
              ['gone', tracking],
            ]),
          )
          await tx.vms.setTracking(vm.vmId, new Map([['disk1', tracking]]))
        })
        const found = await run(async (tx) => await tx.vms.find(vm.vmId))
        expect(found?.disks.map((disk) => disk.tracking)).toEqual([undefined, tracking])
      })
    })

    describe('jobs', () => {
      test('come back as they were written; inserting an id again changes nothing', async () => {
        const job = await insertJob(run)
        await run(async (tx) => await tx.jobs.insert({ ...job, state: 'failed' }))
        expect(await run(async (tx) => await tx.jobs.find(job.jobId))).toEqual(job)
        const error = { code: 'source.busy', message: 'm', advice: 'a', details: { n: 1 } }
        const ended: JobRecord = { ...job, state: 'failed', revision: 3, attempt: 1, endedAt: new Date(1000), error }
        await run(async (tx) => await tx.jobs.update(ended))
        expect(await run(async (tx) => await tx.jobs.find(job.jobId))).toEqual(ended)
      })

      test('are listed by state, VM and age', async () => {
        const old = await insertJob(run, { queuedAt: new Date(1000) })
        const young = await insertJob(run, { vmId: old.vmId, queuedAt: new Date(2000), state: 'running' })
        const list = async (filter: Parameters<CatalogueTransaction['jobs']['list']>[0]) =>
          (await run(async (tx) => await tx.jobs.list(filter))).map((job) => job.jobId)
        expect(await list({ vmId: old.vmId, limit: 10 })).toEqual([old.jobId, young.jobId])
        expect(await list({ vmId: old.vmId, limit: 1, newestFirst: true })).toEqual([young.jobId])
        expect(await list({ vmId: old.vmId, states: ['running'], limit: 10 })).toEqual([young.jobId])
        expect(await list({ vmId: old.vmId, kind: 'verify', limit: 10 })).toEqual([])
      })

      test('log entries are kept once each, in order', async () => {
        const { jobId } = await insertJob(run)
        await run(async (tx) => {
          await tx.jobs.appendLog(jobId, logEntry(1, 'b'))
          await tx.jobs.appendLog(jobId, logEntry(0, 'a'))
          await tx.jobs.appendLog(jobId, logEntry(1, 'again'))
        })
        expect(await run(async (tx) => await tx.jobs.listLog(jobId))).toEqual([logEntry(0, 'a'), logEntry(1, 'b')])
      })
    })

    describeCaptureAgents(run)

    describe('restore points', () => {
      test('are inserted once, found by job, newest first', async () => {
        const [old, young] = await run(async (tx) => {
          const first = await insertPoint(tx, { takenAt: '2026-01-01T00:00:00.000Z' })
          const second = await insertPoint(tx, {
            ...first,
            restorePointId: randomUUID(),
            jobId: randomUUID(),
            takenAt: '2026-01-02T00:00:00.000Z',
            parentRestorePointId: first.restorePointId,
          })
          return [first, second]
        })
        expect(await run(async (tx) => await tx.restorePoints.insert(old))).toBe(false)
        expect(await run(async (tx) => await tx.restorePoints.find(old.restorePointId))).toEqual(old)
        expect(await run(async (tx) => await tx.restorePoints.findByJob(young.jobId))).toEqual(young)
        expect(await run(async (tx) => await tx.restorePoints.findNewest(old.vmId, old.repositoryId))).toEqual(young)
        expect(await run(async (tx) => await tx.restorePoints.findNewest(old.vmId, randomUUID()))).toBeUndefined()
        expect(await run(async (tx) => await tx.restorePoints.list({ vmId: old.vmId, limit: 5 }))).toEqual([young, old])
      })

      test('remember a deletion that was begun and a hold until they are over, and go when they are removed', async () => {
        const point = await run(async (tx) => await insertPoint(tx, {}))
        const { restorePointId, repositoryId } = point
        const deletingSince = new Date('2026-01-02T03:04:05.678Z')
        await run(async (tx) => {
          await tx.restorePoints.setDeleting(restorePointId, deletingSince)
          await tx.restorePoints.setHold(restorePointId, 'case 17')
        })
        const marked = { ...point, deletingSince, hold: 'case 17' }
        expect(await run(async (tx) => await tx.restorePoints.find(restorePointId))).toEqual(marked)
        expect(await run(async (tx) => await tx.restorePoints.listDeleting(repositoryId))).toEqual([marked])
        expect(await run(async (tx) => await tx.restorePoints.listDeleting(randomUUID()))).toEqual([])
        await run(async (tx) => {
          await tx.restorePoints.setDeleting(restorePointId, undefined)
          await tx.restorePoints.setHold(restorePointId, undefined)
        })
        expect(await run(async (tx) => await tx.restorePoints.find(restorePointId))).toEqual(point)
        expect(await run(async (tx) => await tx.restorePoints.listDeleting(repositoryId))).toEqual([])
        for (const _time of [1, 2]) await run(async (tx) => await tx.restorePoints.remove(restorePointId))
        expect(await run(async (tx) => await tx.restorePoints.find(restorePointId))).toBeUndefined()
      })

      test('remember their last verification', async () => {
        const point = await run(async (tx) => await insertPoint(tx, {}))
        const { restorePointId } = point
        const at = '2026-01-02T00:00:00.000Z'
        const verification = {
          restorePointId,
          level: 'L2',
          outcome: 'passed',
          at,
          checkedBytes: 5,
          summary: 's',
        } as const
        await run(async (tx) => await tx.restorePoints.setVerification(verification))
        expect(await run(async (tx) => await tx.restorePoints.find(restorePointId))).toEqual({ ...point, verification })
      })
    })
  })
}

function anEvent(): AgentEvent {
  return { type: 'command-reported', commandId: randomUUID(), state: 'accepted' }
}

function logEntry(sequence: number, sentence: string): JobLogEntry {
  return { sequence, at: new Date(sequence).toISOString(), level: 'info', step: 'copy', sentence }
}

function newCommand(sequence: number): CommandPayload {
  return {
    kind: 'command',
    version: 1,
    commandId: randomUUID(),
    agentId: randomUUID(),
    tenantId: randomUUID(),
    sequence,
    class: 'read',
    issuedAt: '2026-01-02T00:00:00.000Z',
    notBefore: '2026-01-02T00:00:00.000Z',
    expiresAt: '2026-01-03T00:00:00.000Z',
    command: { type: 'refresh-inventory' },
  }
}

function newVm(): VmContextFacts {
  return {
    vmId: randomUUID(),
    platform: 'kvm',
    platformRef: randomUUID(),
    name: 'web-1',
    hostName: 'kvm1',
    powerState: 'running',
    guestAgent: true,
    memoryBytes: 2 ** 40,
    cpuCount: 2,
    present: true,
    disks: [
      { diskId: 'disk0', sizeBytes: 4096, changeTracking: true },
      { diskId: 'disk1', sizeBytes: 2 ** 45, changeTracking: false },
    ],
  }
}

function newTracking() {
  return {
    restorePointId: randomUUID(),
    manifestHash: HASH,
    checkpoint: 'cp-1',
    granularityBytes: 65_536,
    sizeBytes: 4096,
  }
}

type Run = <T>(work: (tx: CatalogueTransaction) => Promise<T>) => Promise<T>

async function insertJob(run: Run, some: Partial<JobRecord> = {}): Promise<JobRecord> {
  const vm = newVm()
  const vmId = some.vmId ?? vm.vmId
  const jobId = randomUUID()
  const job: JobRecord = {
    jobId,
    kind: 'backup',
    vmId,
    arguments: { type: 'backup-vm', jobId, vmId, repositoryId: randomUUID(), mode: 'auto', quiesce: true },
    state: 'queued',
    revision: 0,
    attempt: 0,
    queuedAt: new Date('2026-01-02T03:04:05.678Z'),
    ...some,
  }
  await run(async (tx) => {
    if (some.vmId === undefined) await tx.vms.put(vm)
    await tx.jobs.insert(job)
  })
  return job
}

async function insertPoint(tx: CatalogueTransaction, some: Partial<RestorePointRecord>): Promise<RestorePointRecord> {
  const vm = newVm()
  const repositoryId = some.repositoryId ?? randomUUID()
  if (some.vmId === undefined) await tx.vms.put(vm)
  await tx.repositories.put({ repositoryId, name: 'local', kind: 'qcow2-chain', location: 'somewhere' })
  const sizes = { sizeBytes: 4096, readBytes: 1, writtenBytes: 2, zeroedBytes: 3, storedBytes: 4 }
  const point: RestorePointRecord = {
    restorePointId: randomUUID(),
    vmId: vm.vmId,
    vmName: 'web-1',
    repositoryId,
    jobId: randomUUID(),
    takenAt: '2026-01-02T03:04:05.678Z',
    sealedAt: '2026-01-02T03:05:05.678Z',
    consistency: 'crash',
    manifestHash: HASH,
    disks: [{ diskId: 'disk0', mode: 'full', reason: 'FULL_FIRST', ...sizes }],
    adopted: false,
    ...some,
  }
  expect(await tx.restorePoints.insert(point)).toBe(true)
  return point
}
