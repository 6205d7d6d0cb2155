import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { PlannedDisk } from './plan-disks.ts'

/** What a repository says of a restore point that nothing can be built on. */
const damageCodes: ReadonlySet<string> = new Set([
  'repository.chunk_corrupt',
  'repository.manifest_invalid',
  'repository.base_mismatch',
])

export function isParentDamage(error: unknown): error is PlatformError {
  return isPlatformError(error) && damageCodes.has(error.code)
}

/** The same disks without their parent. Those that were to be read in full anyway keep their reason. */
export function planWithoutParent(planned: readonly PlannedDisk[]): PlannedDisk[] {
  return planned.map((disk) =>
    disk.mode === 'full' ? disk : { frozen: disk.frozen, mode: 'full', reason: 'FULL_PARENT_DAMAGED' },
  )
}

/** Backups go on, but what was sealed before may not be restorable any more: a person must know. */
export function toDamageAlert(
  error: PlatformError,
  facts: { readonly alertId: string; readonly vmId: string; readonly vmName: string; readonly restorePointId: string },
): Extract<AgentEvent, { type: 'alert-raised' }> {
  const { alertId, vmId, vmName, restorePointId } = facts
  const sentence = `The newest restore point of ${vmName} is damaged; its next one is a full backup: ${error.message}`
  const details = { ...error.details, vmId, restorePointId }
  const report = toErrorReport(new PlatformError(error.code, sentence, { details }))
  return { type: 'alert-raised', alertId, severity: 'critical', error: report }
}
