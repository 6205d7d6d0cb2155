import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockOpenerUrls } from '../../block/block-opener.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ChunkIds } from '../../mover/chunk-ids.ts'
import { type CopyProgress, type Mover, noProgress } from '../../mover/mover.ts'
import type { SharedThrottle } from '../../mover/rate/shared-throttle.ts'
import type { FairShareOwner } from '../../mover/slabs/fair-queue.ts'
import { runParallel } from '../../object-store/run-parallel.ts'
import type { BackupWriter, Repository, RestorePointReader } from '../repository.ts'
import { copiedDisk } from './copied-disk.ts'
import type { PlannedCopyDisk } from './copy-base.ts'

/** Disks of one restore point that are copied at the same time. */
const DISKS_AT_ONCE = 4

/** How far the disks of one restore point have come, all together. */
export type PointProgress = Pick<
  CopyProgress,
  'doneBytes' | 'plannedBytes' | 'readBytes' | 'writtenBytes' | 'bytesPerSecond'
>

/** With what disks are copied, and how fast. */
export interface CopyMeans {
  readonly mover: Mover
  /** Modules that the mover's threads open disks of the source with, by name, as the mover was given them. Absent: only NBD. */
  readonly openers?: BlockOpenerUrls
  readonly owner?: FairShareOwner
  readonly throttles?: readonly SharedThrottle[]
}

export interface CopyDisksParts {
  readonly source: Repository
  readonly target: Repository
  readonly reader: RestorePointReader
  readonly writer: BackupWriter
  readonly planned: readonly PlannedCopyDisk[]
  /** In the source, of what the copy builds on, by disk. */
  readonly baseIds: ReadonlyMap<string, ChunkIds>
  readonly means: CopyMeans
}

/** Copies the planned disks into the writer and resolves with the counters of each. The first failure ends the others. */
export async function copyPointDisks(
  parts: CopyDisksParts,
  { signal, onProgress }: CallOptions & { readonly onProgress?: ((progress: PointProgress) => void) | undefined },
): Promise<ReadonlyMap<string, CopyProgress>> {
  const counters = new Map<string, CopyProgress>()
  await runParallel(parts.planned, { concurrency: DISKS_AT_ONCE, signal }, async (disk, call) => {
    const note = (progress: CopyProgress): void => {
      counters.set(disk.diskId, progress)
      onProgress?.(sumOf(counters.values()))
    }
    note(await copyDisk(parts, disk, { ...call, onProgress: note }))
  })
  return counters
}

async function copyDisk(
  { source, target, reader, writer, baseIds, means }: CopyDisksParts,
  { diskId, mode }: PlannedCopyDisk,
  options: CallOptions & { readonly onProgress: (progress: CopyProgress) => void },
): Promise<CopyProgress> {
  const { repositoryId, idKey } = source
  const from = reader.disks.get(diskId)
  const to = writer.disks.get(diskId)
  if (from === undefined || to === undefined) {
    throw new PlatformError('internal.unexpected', `disk ${diskId} was not opened`)
  }
  const { restorePointId } = reader.sealed.manifest
  const before = mode === 'incremental' ? baseIds.get(diskId) : undefined
  const disk = copiedDisk({
    // The reader's to dispose: its ids and exports end with it.
    source: from.source,
    place: { repositoryId, restorePointId, diskId },
    chunkIds: from.chunkIds,
    ...(before === undefined ? {} : { baseIds: before }),
    idKey,
    openers: means.openers ?? {},
  })
  const { sink, base, chunkIds } = to
  const { owner, throttles } = means
  return await means.mover.copyBackup(
    {
      mode,
      source: disk,
      sink,
      ...(base === undefined ? {} : { base }),
      chunkIds,
      idKey: target.idKey,
      diskId,
      ...(owner === undefined ? {} : { owner }),
      ...(throttles === undefined ? {} : { throttles }),
    },
    options,
  )
}

function sumOf(all: Iterable<CopyProgress>): PointProgress {
  const { doneBytes, plannedBytes, readBytes, writtenBytes, bytesPerSecond } = noProgress
  const sum = { doneBytes, plannedBytes, readBytes, writtenBytes, bytesPerSecond }
  for (const progress of all) {
    sum.doneBytes += progress.doneBytes
    sum.plannedBytes += progress.plannedBytes
    sum.readBytes += progress.readBytes
    sum.writtenBytes += progress.writtenBytes
    sum.bytesPerSecond += progress.bytesPerSecond
  }
  return sum
}
