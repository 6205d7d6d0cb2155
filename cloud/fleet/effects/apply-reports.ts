import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import type { RestorePointReport, VerificationReport } from '@sendense/shared/contracts/restore-point.ts'
import type { UsageFact } from '@sendense/shared/contracts/usage-fact.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { and, eq } from 'drizzle-orm'
import { raiseAlert } from '../../alerting/raise-alert.ts'
import { repository, restorePoint, verification, vm } from '../../db/schema/protection.ts'
import type { EffectContext } from '../event-ingestion.ts'
import { createUsageLedger } from '../usage-ledger.ts'

/** Adds a restore point to the index. Rejects with `resource.not_found` unless VM and repository are of this agent. */
export async function applyRestorePoint(report: RestorePointReport, context: EffectContext): Promise<void> {
  const { tx, known } = context
  const { mspId, customerId, agentId } = known
  const { vmId, vmName, repositoryId, jobId, consistency, manifestHash, disks } = report
  const vms = await tx
    .select({ id: vm.id })
    .from(vm)
    .where(and(eq(vm.id, vmId), eq(vm.agentId, agentId)))
  const repositories = await tx
    .select({ id: repository.id })
    .from(repository)
    .where(and(eq(repository.id, repositoryId), eq(repository.agentId, agentId)))
  if (vms.length !== 1 || repositories.length !== 1) {
    throw new PlatformError('resource.not_found', 'VM or repository of the restore point are not of this agent')
  }
  const added = await tx
    .insert(restorePoint)
    .values({
      mspId,
      customerId,
      id: report.restorePointId,
      agentId,
      vmId,
      vmName,
      repositoryId,
      jobId,
      parentId: report.parentRestorePointId ?? null,
      takenAt: new Date(report.takenAt),
      sealedAt: new Date(report.sealedAt),
      consistency,
      manifestHash,
      disks,
      storedBytes: disks.reduce((sum, disk) => sum + disk.storedBytes, 0),
    })
    .onConflictDoNothing()
    .returning({ id: restorePoint.id })
  if (added.length === 1) context.tell({ type: 'restore-point-added', restorePointId: report.restorePointId, vmId })
}

/** Rejects with `repository.restore_point_not_found` where the point is not of this agent. */
export async function applyVerification(report: VerificationReport, context: EffectContext): Promise<void> {
  const { tx, known } = context
  const { restorePointId, level, outcome, checkedBytes, summary } = report
  const [point] = await tx
    .select({ vmId: restorePoint.vmId })
    .from(restorePoint)
    .where(and(eq(restorePoint.id, restorePointId), eq(restorePoint.agentId, known.agentId)))
  if (point === undefined) {
    throw new PlatformError('repository.restore_point_not_found', 'the restore point is not of this agent')
  }
  const { mspId, customerId } = known
  await tx
    .insert(verification)
    .values({ mspId, customerId, restorePointId, at: new Date(report.at), level, outcome, checkedBytes, summary })
    .onConflictDoNothing()
  context.tell({ type: 'restore-point-changed', restorePointId, vmId: point.vmId })
}

/** Takes a restore point out of the index, with its proofs. Does nothing where this agent has no such point. */
export async function applyDeletion(
  { restorePointId }: Extract<AgentEvent, { type: 'restore-point-deleted' }>,
  { tx, known, tell }: EffectContext,
): Promise<void> {
  const [gone] = await tx
    .delete(restorePoint)
    .where(and(eq(restorePoint.id, restorePointId), eq(restorePoint.agentId, known.agentId)))
    .returning({ vmId: restorePoint.vmId })
  if (gone === undefined) return
  await tx.delete(verification).where(eq(verification.restorePointId, restorePointId))
  tell({ type: 'restore-point-changed', restorePointId, vmId: gone.vmId })
}

export async function applyUsage(facts: readonly UsageFact[], { tx, known }: EffectContext): Promise<void> {
  await createUsageLedger(tx).record(known, facts)
}

export async function applyAlert(
  event: Extract<AgentEvent, { type: 'alert-raised' }>,
  { tx, known, at, tell }: EffectContext,
): Promise<void> {
  const { mspId, customerId, agentId } = known
  const { alertId, severity, error } = event
  const told = await raiseAlert(tx, { mspId, customerId, agentId, alertId, severity, error, raisedAt: at })
  if (told !== undefined) tell(told)
}
