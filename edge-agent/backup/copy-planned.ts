import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import { troublesNote, withTroublesLogged } from '../jobs/copy-troubles.ts'
import type { JobRun } from '../jobs/job-runner.ts'
import type { CopyProgress, Mover } from '../mover/mover.ts'
import type { SharedThrottle } from '../mover/rate/shared-throttle.ts'
import type { FairShareOwner } from '../mover/slabs/fair-queue.ts'
import type { BackupWriter } from '../repository/repository.ts'
import { copyDisks, type ProgressSum } from './copy-disks.ts'
import type { GuestSparing } from './guest-sparing.ts'
import type { PlannedDisk } from './plan-disks.ts'

export interface PlannedCopy {
  readonly mover: Mover
  readonly run: Pick<JobRun, 'log' | 'progress'>
  readonly vmName: string
  readonly planned: readonly PlannedDisk[]
  readonly writer: BackupWriter
  /** The repository's key of chunk ids. */
  readonly idKey: Uint8Array
  readonly owner: FairShareOwner
  /** Beside what spares the guest. */
  readonly throttles: readonly SharedThrottle[]
  readonly sparing: GuestSparing
}

/** Copies the planned disks into the writer, tells of it, and spares the guest. Rejects as `copyDisks`, or with `source.guest_stalled`. */
export async function copyPlanned(
  { mover, run, vmName, planned, writer, idKey, owner, throttles, sparing }: PlannedCopy,
  { signal }: CallOptions,
): Promise<ReadonlyMap<string, CopyProgress>> {
  const all = [...throttles, ...sparing.throttles]
  const tasks = planned.map(({ frozen: { diskId, source }, mode }) => {
    const target = writer.disks.get(diskId)
    if (target === undefined) throw new PlatformError('internal.unexpected', `no writer for disk ${diskId}`)
    const { sink, base, chunkIds } = target
    const task = { mode, source, sink, chunkIds, idKey, diskId, owner, throttles: all }
    return { diskId, task: base === undefined ? task : { ...task, base } }
  })
  await sparing.begin({ signal })
  const ends = sparing.hurt === undefined ? [signal] : [signal, sparing.hurt]
  return await withTroublesLogged(run, async (note) => {
    const onProgress = (sum: ProgressSum): void => {
      note(sum)
      sparing.note(sum.bytesPerSecond)
      const { doneBytes, plannedBytes } = sum
      const copied = `${formatByteSize(doneBytes)} of ${formatByteSize(plannedBytes)}`
      const sentence = `Copying ${vmName}: ${copied}${troublesNote(sum)}${sparing.progressNote}.`
      run.progress({ phase: 'copy', sentence, doneBytes, totalBytes: plannedBytes })
    }
    try {
      return await copyDisks(mover, tasks, { signal: AbortSignal.any(ends), onProgress })
    } finally {
      if (sparing.sentence !== undefined) await run.log('info', 'copy', sparing.sentence)
    }
  })
}
