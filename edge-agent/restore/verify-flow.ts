import type { VerifyRestorePoint } from '@sendense/shared/contracts/agent-command.ts'
import type { VerificationReport } from '@sendense/shared/contracts/restore-point.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import type { JobRun, JobRunner } from '../jobs/job-runner.ts'
import type { RepositoryRegistry } from '../jobs/repository-registry.ts'
import { toUsageFact } from '../jobs/usage-facts.ts'
import type { Mover } from '../mover/mover.ts'
import { readDisks, type ReadSum } from './read-disks.ts'

export interface VerifyDependencies {
  readonly catalogue: Catalogue
  readonly repositories: RepositoryRegistry
  readonly mover: Mover
  readonly clock: Clock
  readonly newId: () => string
}

type VerifyArguments = z.infer<typeof VerifyRestorePoint>

/** Codes that say something about the restore point, not about the moment. */
const damageCodes: ReadonlySet<string> = new Set([
  'repository.chunk_corrupt',
  'repository.manifest_invalid',
  'repository.restore_point_not_found',
])

/** Reads a whole restore point back and checks every chunk against the sealed manifest (level L2). */
export function createVerifyRunner(deps: VerifyDependencies): JobRunner<VerifyArguments> {
  return {
    kind: 'verify',
    async run(run, options) {
      const { restorePointId, repositoryId } = run.arguments
      run.progress({ phase: 'prepare', sentence: 'Opening the restore point.', doneBytes: 0, totalBytes: 0 })
      const repository = await deps.repositories.get(repositoryId, options)
      try {
        await using reader = await repository.openRestorePoint(restorePointId, options)
        const onProgress = ({ doneBytes, plannedBytes }: ReadSum) => {
          const sentence = `Checking ${reader.sealed.manifest.vmName}: ${formatByteSize(doneBytes)} of ${formatByteSize(plannedBytes)}.`
          run.progress({ phase: 'copy', sentence, doneBytes, totalBytes: plannedBytes })
        }
        const task = { mover: deps.mover, reader, idKey: repository.idKey }
        const { readBytes: checkedBytes } = await readDisks(task, { ...options, onProgress })
        const disks = reader.sealed.manifest.disks.length
        const summary = `The manifest's signature is right and every chunk of ${disks} disk${disks === 1 ? '' : 's'} matches its hash: ${formatByteSize(checkedBytes)} read back.`
        await recordOutcome(deps, run, { outcome: 'passed', checkedBytes, summary }, options)
        await run.log('info', 'verify', summary)
        return { kind: 'verify', restorePointId, checkedBytes, summary }
      } catch (error) {
        if (error instanceof PlatformError && damageCodes.has(error.code)) await recordDamage(deps, run, error, options)
        throw error
      }
    },

    // It only reads: nothing to remove.
    recover: async () => undefined,
  }
}

type Outcome = Pick<VerificationReport, 'outcome' | 'checkedBytes' | 'summary'>

async function recordOutcome(
  deps: VerifyDependencies,
  run: JobRun<VerifyArguments>,
  outcome: Outcome,
  options: CallOptions,
): Promise<void> {
  const at = deps.clock.now()
  const { restorePointId } = run.arguments
  const verification: VerificationReport = { restorePointId, level: 'L2', at: at.toISOString(), ...outcome }
  const fact = toUsageFact({
    sourceId: run.job.jobId,
    resourceId: run.job.vmId,
    meter: 'verification',
    amount: 1,
    at,
  })
  await deps.catalogue.transaction(async (tx) => {
    await tx.restorePoints.setVerification(verification)
    await tx.outbox.append({ type: 'restore-point-verified', verification }, at)
    await tx.outbox.append({ type: 'usage-measured', facts: [fact] }, at)
  }, options)
}

async function recordDamage(
  deps: VerifyDependencies,
  run: JobRun<VerifyArguments>,
  error: PlatformError,
  options: CallOptions,
): Promise<void> {
  const summary = `The restore point is damaged: ${error.message}`.slice(0, 2000)
  await recordOutcome(deps, run, { outcome: 'failed', checkedBytes: 0, summary }, options)
  const alertId = deps.newId()
  const details = { ...error.details, restorePointId: run.arguments.restorePointId }
  const report = toErrorReport(new PlatformError(error.code, summary, { details }))
  const event = { type: 'alert-raised', alertId, severity: 'critical', error: report } as const
  await deps.catalogue.transaction(async (tx) => await tx.outbox.append(event, deps.clock.now()), options)
}
