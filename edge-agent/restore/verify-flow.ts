import type { VerifyRestorePoint } from '@sendense/shared/contracts/agent-command.ts'
import type { VerificationReport } from '@sendense/shared/contracts/restore-point.ts'
import type { UsageFact } from '@sendense/shared/contracts/usage-fact.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import { troublesNote, withTroublesLogged } from '../jobs/copy-troubles.ts'
import type { JobRun, JobRunner } from '../jobs/job-runner.ts'
import type { RepositoryRegistry } from '../jobs/repository-registry.ts'
import { toUsageFact } from '../jobs/usage-facts.ts'
import type { Mover } from '../mover/mover.ts'
import type { RestorePointReader } from '../repository/repository.ts'
import { readDisks, type ReadSum } from './read-disks.ts'
import { isDamage, recordDamage } from './record-damage.ts'

export interface VerifyDependencies {
  readonly catalogue: Catalogue
  readonly repositories: RepositoryRegistry
  readonly mover: Mover
  readonly clock: Clock
  readonly newId: () => string
  readonly tenantId: string
}

type VerifyArguments = z.infer<typeof VerifyRestorePoint>

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
        const { readBytes: checkedBytes } = await check(deps, { run, reader, idKey: repository.idKey }, options)
        const disks = reader.sealed.manifest.disks.length
        const summary = `The manifest's signature is right and every chunk of ${disks} disk${disks === 1 ? '' : 's'} matches its hash: ${formatByteSize(checkedBytes)} read back.`
        await recordPassed(deps, run, { checkedBytes, summary }, options)
        await run.log('info', 'verify', summary)
        return { kind: 'verify', restorePointId, checkedBytes, summary }
      } catch (error) {
        if (isDamage(error)) {
          const facts = [toVerificationFact(run, deps.clock.now())]
          await recordDamage(deps, { restorePointId, error, facts }, options)
        }
        throw error
      }
    },

    // It only reads: nothing to remove.
    recover: async () => undefined,
  }
}

interface Check {
  readonly run: JobRun<VerifyArguments>
  readonly reader: RestorePointReader
  readonly idKey: Uint8Array
}

async function check(deps: VerifyDependencies, { run, reader, idKey }: Check, options: CallOptions): Promise<ReadSum> {
  const owner = { tenantId: deps.tenantId, jobId: run.job.jobId }
  const throttles = deps.repositories.throttles(run.arguments.repositoryId)
  return await withTroublesLogged(run, async (note) => {
    const onProgress = (sum: ReadSum) => {
      note(sum)
      const { doneBytes, plannedBytes } = sum
      const checked = `${formatByteSize(doneBytes)} of ${formatByteSize(plannedBytes)}`
      const sentence = `Checking ${reader.sealed.manifest.vmName}: ${checked}${troublesNote(sum)}.`
      run.progress({ phase: 'copy', sentence, doneBytes, totalBytes: plannedBytes })
    }
    return await readDisks({ mover: deps.mover, reader, idKey, owner, throttles }, { ...options, onProgress })
  })
}

async function recordPassed(
  deps: VerifyDependencies,
  run: JobRun<VerifyArguments>,
  passed: Pick<VerificationReport, 'checkedBytes' | 'summary'>,
  options: CallOptions,
): Promise<void> {
  const at = deps.clock.now()
  const { restorePointId } = run.arguments
  const verification: VerificationReport = {
    restorePointId,
    level: 'L2',
    at: at.toISOString(),
    outcome: 'passed',
    ...passed,
  }
  const facts = [toVerificationFact(run, at)]
  await deps.catalogue.transaction(async (tx) => {
    // One that was deleted meanwhile the cloud does not know any more.
    if ((await tx.restorePoints.find(restorePointId)) !== undefined) {
      await tx.restorePoints.setVerification(verification)
      await tx.outbox.append({ type: 'restore-point-verified', verification }, at)
    }
    await tx.outbox.append({ type: 'usage-measured', facts }, at)
  }, options)
}

function toVerificationFact(run: JobRun<VerifyArguments>, at: Date): UsageFact {
  return toUsageFact({ sourceId: run.job.jobId, resourceId: run.job.vmId, meter: 'verification', amount: 1, at })
}
