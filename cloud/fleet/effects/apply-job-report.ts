import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import type { JobReport } from '@sendense/shared/contracts/job.ts'
import type { CommandState } from '@sendense/shared/domain/command-state.ts'
import { isFinalJobState, type JobState } from '@sendense/shared/domain/job-state.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { and, eq } from 'drizzle-orm'
import { command, commandOutbox } from '../../db/schema/fleet.ts'
import { job, jobLog, vm } from '../../db/schema/protection.ts'
import { moveCommand } from '../command-queue.ts'
import type { EffectContext } from '../event-ingestion.ts'
import { endJob } from './end-job.ts'

/** How far the order of a job is, by the job's state. */
const commandStateOf: { readonly [S in JobState]: CommandState } = {
  queued: 'accepted',
  running: 'running',
  cancelling: 'running',
  succeeded: 'succeeded',
  failed: 'failed',
  cancelled: 'cancelled',
}

/**
 * Takes the newest state of a job in. An older revision changes nothing but may bring log entries; what the
 * agent ended stays ended. A job the cloud did not order is added. Rejects with `job.not_found` where the
 * job or its VM is not of this agent.
 */
export async function applyJobReport(report: JobReport, context: EffectContext): Promise<void> {
  const { tx, known } = context
  const [found] = await tx.select().from(job).where(eq(job.id, report.jobId))
  if (found === undefined) await addOwnJob(report, context)
  else if (found.agentId !== known.agentId) throw new PlatformError('job.not_found', 'the job is of another agent')
  await addLog(report, context)
  const settled = found !== undefined && isFinalJobState(found.state) && !found.endedByCloud
  if (found !== undefined && (settled || report.revision <= found.revision)) return
  await tx
    .update(job)
    .set({
      state: report.state,
      revision: report.revision,
      endedByCloud: false,
      startedAt: report.startedAt === undefined ? null : new Date(report.startedAt),
      endedAt: report.endedAt === undefined ? null : new Date(report.endedAt),
      attempt: report.attempt,
      result: report.result ?? null,
      error: report.error ?? null,
      ...(report.result?.kind === 'backup' ? { restorePointId: report.result.restorePointId } : {}),
    })
    .where(eq(job.id, report.jobId))
  if (found?.commandId !== null && found?.commandId !== undefined) {
    await moveCommand(tx, found.commandId, commandStateOf[report.state], report.error)
    await settleOutbox(found.commandId, context)
  }
  context.tell({ type: 'job-changed', jobId: report.jobId, vmId: found?.vmId ?? report.vmId, state: report.state })
}

async function addOwnJob(report: JobReport, { tx, known }: EffectContext): Promise<void> {
  const { mspId, customerId, agentId } = known
  const isOwnVm = and(eq(vm.id, report.vmId), eq(vm.agentId, agentId))
  const [machine] = await tx.select({ name: vm.name }).from(vm).where(isOwnVm)
  if (machine === undefined) throw new PlatformError('job.not_found', 'the VM of the job is not of this agent')
  await tx.insert(job).values({
    mspId,
    customerId,
    id: report.jobId,
    kind: report.kind,
    state: 'queued',
    revision: -1,
    agentId,
    vmId: report.vmId,
    vmName: machine.name,
    requestedBy: 'agent',
    queuedAt: new Date(report.queuedAt),
  })
}

async function addLog(report: JobReport, { tx, known }: EffectContext): Promise<void> {
  if (report.log.length === 0) return
  const { mspId, customerId } = known
  const rows = report.log.map((entry) => ({ ...entry, mspId, customerId, jobId: report.jobId, at: new Date(entry.at) }))
  await tx.insert(jobLog).values(rows).onConflictDoNothing()
}

type CommandReport = Extract<AgentEvent, { type: 'command-reported' }>

/**
 * Moves a command on. Where the agent will not run it at all, the job it was for ends too.
 * Rejects with `resource.not_found` where the command is not for this agent.
 */
export async function applyCommandReport(report: CommandReport, context: EffectContext): Promise<void> {
  const { tx, known, at } = context
  const isOwn = and(eq(command.id, report.commandId), eq(command.agentId, known.agentId))
  const [found] = await tx.select().from(command).where(isOwn)
  if (found === undefined) throw new PlatformError('resource.not_found', 'the command is not for this agent')
  const moved = await moveCommand(tx, report.commandId, report.state, report.error)
  await settleOutbox(report.commandId, context)
  if (!moved || found.jobId === null || report.state === 'accepted' || report.state === 'succeeded') return
  if (found.type === 'cancel-job') {
    if (report.error?.code === 'job.not_found') await endUnknownJob(found.jobId, context)
    return
  }
  const state = report.state === 'cancelled' ? 'cancelled' : 'failed'
  const ended = await endJob(tx, found.jobId, { state, error: report.error, at })
  if (ended !== undefined) context.tell({ type: 'job-changed', jobId: ended.jobId, vmId: ended.vmId, state })
}

/** It was to be cancelled, and its agent has no memory of it: nothing will run and nothing more will be reported. */
async function endUnknownJob(jobId: string, { tx, at, tell }: EffectContext): Promise<void> {
  const error = toErrorReport(new PlatformError('job.interrupted', 'the agent has no memory of this job any more'))
  const ended = await endJob(tx, jobId, { state: 'cancelled', error, at })
  if (ended === undefined) return
  if (ended.commandId !== null) await moveCommand(tx, ended.commandId, 'unknown', error)
  tell({ type: 'job-changed', jobId, vmId: ended.vmId, state: ended.state })
}

/** The agent holds it: it need not be sent again. */
async function settleOutbox(commandId: string, { tx }: EffectContext): Promise<void> {
  await tx.delete(commandOutbox).where(eq(commandOutbox.commandId, commandId))
}
