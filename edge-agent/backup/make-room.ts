import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { JobRun } from '../jobs/job-runner.ts'
import type { Repository } from '../repository/repository.ts'
import type { BackupBase } from './choose-base.ts'

/**
 * Makes room on a full chain where the repository can, so that the guest's disks need not be read in full for it. Before
 * the guest is touched: it takes as long as reading the restore point. Where it fails the base is as it was, and the
 * log says why; rejects only with the signal's reason.
 */
export async function makeRoom(
  base: BackupBase,
  { run, repository }: { readonly run: Pick<JobRun, 'log' | 'progress'>; readonly repository: Repository },
  { signal }: CallOptions,
): Promise<BackupBase> {
  const { parent, chainFull } = base
  const { chainCare } = repository
  if (!chainFull || parent === undefined || chainCare === undefined) return base
  const onProgress = ({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }): void => {
    const done = `${formatByteSize(doneBytes)} of about ${formatByteSize(totalBytes)}`
    run.progress({ phase: 'prepare', sentence: `Making the chain shorter: ${done}.`, doneBytes, totalBytes })
  }
  try {
    await chainCare.shorten(parent.manifest.restorePointId, { signal, onProgress })
    await run.log('info', 'prepare', 'The chain of increments had reached its longest: it was read and written anew.')
    return { ...base, chainFull: false }
  } catch (error) {
    signal.throwIfAborted()
    const why = isPlatformError(error) ? error.message : String(error)
    await run.log('warning', 'prepare', `The chain of increments cannot be made shorter: ${why}`.slice(0, 1000))
    return base
  }
}
