import type { VerificationReport } from '@sendense/shared/contracts/restore-point.ts'
import type { UsageFact } from '@sendense/shared/contracts/usage-fact.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue } from '../catalog/catalogue.ts'

/** Codes that say something about the restore point, not about the moment. */
const damageCodes: ReadonlySet<string> = new Set([
  'repository.chunk_corrupt',
  'repository.manifest_invalid',
  'repository.restore_point_not_found',
])

/** Whether what reading a restore point failed with says that the point is damaged. */
export function isDamage(error: unknown): error is PlatformError {
  return error instanceof PlatformError && damageCodes.has(error.code)
}

export interface Damage {
  readonly restorePointId: string
  readonly error: PlatformError
  /** What finding it is billed as. */
  readonly facts: readonly UsageFact[]
}

/**
 * Tells that a restore point is damaged: as its failed verification and as an alert, both or none. One that was deleted
 * meanwhile is not damaged, and not known to the cloud any more.
 */
export async function recordDamage(
  deps: { readonly catalogue: Catalogue; readonly clock: Clock; readonly newId: () => string },
  { restorePointId, error, facts }: Damage,
  options: CallOptions,
): Promise<void> {
  const at = deps.clock.now()
  const summary = `The restore point is damaged: ${error.message}`.slice(0, 2000)
  const verification: VerificationReport = {
    restorePointId,
    level: 'L2',
    at: at.toISOString(),
    outcome: 'failed',
    checkedBytes: 0,
    summary,
  }
  const report = toErrorReport(
    new PlatformError(error.code, summary, { details: { ...error.details, restorePointId } }),
  )
  const alert = { type: 'alert-raised', alertId: deps.newId(), severity: 'critical', error: report } as const
  await deps.catalogue.transaction(async (tx) => {
    const point = await tx.restorePoints.find(restorePointId)
    if (point === undefined || point.deletingSince !== undefined) return
    await tx.restorePoints.setVerification(verification)
    await tx.outbox.append({ type: 'restore-point-verified', verification }, at)
    if (facts.length > 0) await tx.outbox.append({ type: 'usage-measured', facts: [...facts] }, at)
    await tx.outbox.append(alert, at)
  }, options)
}
