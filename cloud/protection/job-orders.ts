import type { AgentCommand } from '@sendense/shared/contracts/agent-command.ts'
import type {
  StartBackupInput,
  StartRestoreInput,
  StartVerifyInput,
} from '@sendense/shared/contracts/api/protection-api.ts'
import type { JobKind } from '@sendense/shared/contracts/job.ts'
import { isFinalJobState } from '@sendense/shared/domain/job-state.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { and, desc, eq, inArray, sql } from 'drizzle-orm'
import type { z } from 'zod'
import { appendAudit } from '../audit/audit-chain.ts'
import type { TenantTransaction } from '../db/database.ts'
import { command } from '../db/schema/fleet.ts'
import { job, repository, restorePoint, vm } from '../db/schema/protection.ts'
import { enqueueCommand, moveCommand } from '../fleet/command-queue.ts'

/** Who orders, and when. */
export interface Orderer {
  readonly email: string
  readonly now: Date
}

/** The job, and the agent to nudge once the transaction is committed; no agent where nothing has to be sent. */
export interface Ordered {
  readonly jobId: string
  readonly agentId: string | undefined
  readonly mspId: string
  readonly customerId: string
  readonly vmId: string
}

/**
 * Orders a backup. An offline agent gets it when it is back.
 * Rejects with `resource.not_found`, `source.vm_not_found` (gone from its platform),
 * `job.already_running` (a backup of the VM has not ended), `repository.missing`.
 */
export async function orderBackup(
  tx: TenantTransaction,
  input: z.infer<typeof StartBackupInput>,
  orderer: Orderer,
): Promise<Ordered> {
  const repeated = await findRepeated(tx, input.idempotencyKey, { kind: 'backup', vmId: input.vmId })
  if (repeated !== undefined) return repeated
  const [machine] = await tx.select().from(vm).where(eq(vm.id, input.vmId))
  if (machine === undefined) throw new PlatformError('resource.not_found', `VM ${input.vmId} is not there`)
  if (!machine.present) {
    throw new PlatformError('source.vm_not_found', `VM ${machine.name} is not on its platform any more`)
  }
  await refuseSecondBackup(tx, machine)
  const repositoryId = await chooseRepository(tx, machine, input.repositoryId)
  const { mode, quiesce, idempotencyKey } = input
  return await insertJob(tx, orderer, {
    kind: 'backup',
    machine,
    repositoryId,
    idempotencyKey,
    body: (jobId) => ({ type: 'backup-vm', jobId, vmId: machine.id, repositoryId, mode, quiesce }),
  })
}

/** Orders a new VM from a restore point. Rejects with `resource.not_found`, `repository.missing`, `target.vm_exists`. */
export async function orderRestore(
  tx: TenantTransaction,
  input: z.infer<typeof StartRestoreInput>,
  orderer: Orderer,
): Promise<Ordered> {
  const { newVmName, start } = input
  return await orderOfPoint(tx, input, orderer, {
    kind: 'restore',
    check: async (agentId) => await refuseTakenName(tx, agentId, newVmName),
    body: (place) => ({ type: 'restore-vm', ...place, newVmName, start }),
  })
}

/** Orders the proof of a restore point. Rejects with `resource.not_found`, `repository.missing`. */
export async function orderVerify(
  tx: TenantTransaction,
  input: z.infer<typeof StartVerifyInput>,
  orderer: Orderer,
): Promise<Ordered> {
  return await orderOfPoint(tx, input, orderer, {
    kind: 'verify',
    body: (place) => ({ type: 'verify-restore-point', ...place }),
  })
}

/**
 * Cancels a job. One whose order has not left the cloud ends at once (its place in the agent's sequence is
 * later filled with the order, expired); otherwise the agent is asked and the job ends when it says so.
 * Rejects with `job.not_found`, `job.not_cancellable`.
 */
export async function orderCancel(tx: TenantTransaction, jobId: string, orderer: Orderer): Promise<Ordered> {
  const [found] = await tx.select().from(job).where(eq(job.id, jobId))
  if (found === undefined) throw new PlatformError('job.not_found', `job ${jobId} is not there`)
  if (isFinalJobState(found.state)) throw new PlatformError('job.not_cancellable', `the job has ended: ${found.state}`)
  const { mspId, customerId, agentId, vmId } = found
  const ended = found.state === 'queued' && found.commandId !== null && (await cancelUnsent(tx, found.commandId))
  if (ended) {
    await tx
      .update(job)
      .set({ state: 'cancelled', endedByCloud: true, endedAt: orderer.now })
      .where(and(eq(job.id, jobId), eq(job.state, 'queued')))
  } else {
    await enqueueCommand(tx, { agentId, body: { type: 'cancel-job', jobId }, jobId, now: orderer.now })
  }
  await appendAudit(tx, {
    mspId,
    customerId,
    actor: orderer.email,
    action: 'job.cancelled',
    details: { jobId, kind: found.kind, vmId },
    at: orderer.now,
  })
  return { jobId, agentId: ended ? undefined : agentId, mspId, customerId, vmId }
}

async function cancelUnsent(tx: TenantTransaction, commandId: string): Promise<boolean> {
  const [order] = await tx.select({ state: command.state }).from(command).where(eq(command.id, commandId))
  return order?.state === 'queued' && (await moveCommand(tx, commandId, 'cancelled'))
}

type VmRow = typeof vm.$inferSelect

/** Rejects with `resource.conflict` where the key stands for another order. */
async function findRepeated(
  tx: TenantTransaction,
  idempotencyKey: string,
  order: { kind: JobKind; vmId?: string; restorePointId?: string },
): Promise<Ordered | undefined> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${idempotencyKey}, 1))`)
  const [found] = await tx.select().from(job).where(eq(job.idempotencyKey, idempotencyKey))
  if (found === undefined) return undefined
  const isOther =
    found.kind !== order.kind ||
    (order.vmId !== undefined && order.vmId !== found.vmId) ||
    (order.restorePointId !== undefined && order.restorePointId !== found.restorePointId)
  if (isOther) {
    throw new PlatformError('resource.conflict', 'this idempotency key was used for another order', {
      details: { jobId: found.id },
    })
  }
  return {
    jobId: found.id,
    agentId: found.agentId,
    mspId: found.mspId,
    customerId: found.customerId,
    vmId: found.vmId,
  }
}

/** Held until the transaction ends: two requests at the same moment do not both find nothing running. */
async function refuseSecondBackup(tx: TenantTransaction, machine: VmRow): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${machine.id}, 2))`)
  const unfinished = await tx
    .select({ id: job.id })
    .from(job)
    .where(
      and(eq(job.vmId, machine.id), eq(job.kind, 'backup'), inArray(job.state, ['queued', 'running', 'cancelling'])),
    )
    .limit(1)
  const running = unfinished[0]
  if (running === undefined) return
  throw new PlatformError('job.already_running', `a backup of ${machine.name} has not ended yet`, {
    details: { jobId: running.id },
  })
}

async function chooseRepository(tx: TenantTransaction, machine: VmRow, wanted: string | undefined): Promise<string> {
  const candidates = await tx.select().from(repository).where(eq(repository.agentId, machine.agentId))
  const [lastPoint] = await tx
    .select({ repositoryId: restorePoint.repositoryId })
    .from(restorePoint)
    .where(eq(restorePoint.vmId, machine.id))
    .orderBy(desc(restorePoint.takenAt))
    .limit(1)
  const only = candidates.length === 1 ? candidates[0]?.id : undefined
  const chosenId = wanted ?? lastPoint?.repositoryId ?? only
  const chosen = candidates.find((candidate) => candidate.id === chosenId)
  if (chosen !== undefined) {
    refuseMissing(chosen)
    return chosen.id
  }
  if (wanted !== undefined) throw new PlatformError('resource.not_found', `repository ${wanted} is not there`)
  if (candidates.length > 1) throw new PlatformError('input.invalid', 'repositoryId: the agent has several; name one')
  throw new PlatformError('repository.missing', `the agent of ${machine.name} has reported no repository`)
}

function refuseMissing(found: typeof repository.$inferSelect): void {
  if (found.state === 'ready') return
  throw new PlatformError('repository.missing', `repository ${found.name} at ${found.location} is ${found.state}`)
}

async function findPoint(tx: TenantTransaction, restorePointId: string) {
  const [row] = await tx
    .select({ point: restorePoint, machine: vm, store: repository })
    .from(restorePoint)
    .innerJoin(vm, and(eq(vm.mspId, restorePoint.mspId), eq(vm.id, restorePoint.vmId)))
    .innerJoin(repository, and(eq(repository.mspId, restorePoint.mspId), eq(repository.id, restorePoint.repositoryId)))
    .where(eq(restorePoint.id, restorePointId))
  if (row === undefined) throw new PlatformError('resource.not_found', `restore point ${restorePointId} is not there`)
  refuseMissing(row.store)
  return row
}

interface PointOrder {
  readonly kind: JobKind
  /** Rejects where the agent of the point cannot do it. */
  readonly check?: (agentId: string) => Promise<void>
  readonly body: (place: { jobId: string; restorePointId: string; repositoryId: string }) => AgentCommand
}

async function orderOfPoint(
  tx: TenantTransaction,
  { restorePointId, idempotencyKey }: { readonly restorePointId: string; readonly idempotencyKey: string },
  orderer: Orderer,
  { kind, check, body }: PointOrder,
): Promise<Ordered> {
  const repeated = await findRepeated(tx, idempotencyKey, { kind, restorePointId })
  if (repeated !== undefined) return repeated
  const { point, machine } = await findPoint(tx, restorePointId)
  await check?.(point.agentId)
  const { repositoryId } = point
  return await insertJob(tx, orderer, {
    kind,
    machine,
    repositoryId,
    restorePointId,
    idempotencyKey,
    body: (jobId) => body({ jobId, restorePointId, repositoryId }),
  })
}

async function refuseTakenName(tx: TenantTransaction, agentId: string, name: string): Promise<void> {
  const taken = await tx
    .select({ id: vm.id })
    .from(vm)
    .where(and(eq(vm.agentId, agentId), eq(vm.name, name), eq(vm.present, true)))
  if (taken.length > 0) throw new PlatformError('target.vm_exists', `a VM named ${name} is there already`)
}

interface JobOrder {
  readonly kind: JobKind
  readonly machine: VmRow
  readonly repositoryId: string
  readonly restorePointId?: string
  readonly idempotencyKey: string
  readonly body: (jobId: string) => AgentCommand
}

async function insertJob(tx: TenantTransaction, orderer: Orderer, order: JobOrder): Promise<Ordered> {
  const { machine, kind } = order
  const { mspId, customerId, agentId } = machine
  const jobId = newId(orderer.now)
  const { commandId } = await enqueueCommand(tx, { agentId, body: order.body(jobId), jobId, now: orderer.now })
  await tx.insert(job).values({
    mspId,
    customerId,
    id: jobId,
    kind,
    state: 'queued',
    revision: -1,
    agentId,
    vmId: machine.id,
    vmName: machine.name,
    repositoryId: order.repositoryId,
    restorePointId: order.restorePointId ?? null,
    commandId,
    requestedBy: orderer.email,
    idempotencyKey: order.idempotencyKey,
    queuedAt: orderer.now,
  })
  await appendAudit(tx, {
    mspId,
    customerId,
    actor: orderer.email,
    action: `${kind}.ordered`,
    details: { jobId, vmId: machine.id, vmName: machine.name, restorePointId: order.restorePointId ?? null },
    at: orderer.now,
  })
  return { jobId, agentId, mspId, customerId, vmId: machine.id }
}
