import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ChunkIds } from '../../mover/chunk-ids.ts'
import type { CopyProgress } from '../../mover/mover.ts'
import type { Repository, RestorePointReader, SealFacts } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import { isDamageOf, placedDamage } from './copied-disk.ts'
import { chooseCopyBase, type CopyBase, planCopyDisks, type PlannedCopyDisk } from './copy-base.ts'
import { type CopyMeans, copyPointDisks, type PointProgress } from './copy-disks.ts'
import { listPoints } from './list-points.ts'
import { isSameRestorePoint, originOf } from './restore-point-origin.ts'

export interface CopyPointOptions extends CopyMeans, CallOptions {
  /** Hears a few times a second how far the copy has come. */
  readonly onProgress?: (progress: PointProgress) => void
}

/** A restore point that the target has. */
export interface RestorePointCopy {
  /** `present`: it was there before, and nothing was moved. */
  readonly outcome: 'copied' | 'present'
  /** In the target. */
  readonly sealed: SealedManifest
  /** Sentences for people, where something was not as it should be. */
  readonly doubts: readonly string[]
}

/** The restore points of one VM, in both repositories. */
export interface KnownPoints {
  readonly inSource: readonly SealedManifest[]
  readonly inTarget: readonly SealedManifest[]
}

/**
 * Copies one restore point of `source` to `target`, whatever their kinds, keys and chunk sizes: only what differs from the
 * newest restore point before it that both have, or all of it where there is none. The copy has the id of what it is a copy
 * of. Until it is sealed the target has nothing of it; cut off anywhere, it is copied by the next call. Damage is never copied:
 * a chunk that does not match its id ends the copy.
 *
 * Rejects with `repository.restore_point_not_found`, `repository.chunk_corrupt` with disk and range where the source is
 * damaged, `repository.copy_conflict` where the target has another restore point of that id, as the repositories do
 * (`repository.no_space`, `repository.locked`, …), or with the signal's reason.
 */
export async function copyRestorePoint(
  source: Repository,
  target: Repository,
  restorePointId: string,
  options: CopyPointOptions,
): Promise<RestorePointCopy> {
  expectTwo(source, target)
  const { signal } = options
  const wanted = await source.getRestorePoint(restorePointId, { signal })
  const { vmId } = wanted.manifest
  const { points: inTarget } = await listPoints(target, vmId, { signal })
  const { points: inSource } = await listPoints(source, vmId, { signal })
  return await copyKnownPoint(source, target, { wanted, inSource, inTarget }, options)
}

/** The same, where the restore points of the VM are known already. */
export async function copyKnownPoint(
  source: Repository,
  target: Repository,
  { wanted, inSource, inTarget }: KnownPoints & { readonly wanted: SealedManifest },
  options: CopyPointOptions,
): Promise<RestorePointCopy> {
  const present = inTarget.find(({ manifest }) => manifest.restorePointId === wanted.manifest.restorePointId)
  if (present !== undefined) return presentCopy(wanted, present)
  const doubts: string[] = []
  const copy = { source, target, wanted }
  let base = await withRoom(target, chooseCopyBase(wanted, inSource, inTarget), doubts, options)
  for (;;) {
    try {
      return { outcome: 'copied', sealed: await copyOnto({ ...copy, base }, options), doubts }
    } catch (error) {
      options.signal.throwIfAborted()
      if (isPlatformError(error, 'input.invalid')) return await madeMeanwhile(copy, error, options)
      if (base === undefined) throw error
      base = nextBase(source, wanted, base, error)
      doubts.push(`${base === undefined ? 'All of it was copied' : 'All of it was compared'}: ${messageOf(error)}`)
    }
  }
}

export function expectTwo(source: Repository, target: Repository): void {
  if (source.repositoryId !== target.repositoryId) return
  throw new PlatformError('input.invalid', `repository ${source.repositoryId} cannot be copied to itself`)
}

function presentCopy(wanted: SealedManifest, present: SealedManifest): RestorePointCopy {
  if (isSameRestorePoint(wanted, present)) return { outcome: 'present', sealed: present, doubts: [] }
  const { restorePointId, repositoryId } = present.manifest
  const text = `repository ${repositoryId} has another restore point ${restorePointId}, which is no copy of this one`
  throw new PlatformError('repository.copy_conflict', text, { details: { restorePointId, repositoryId } })
}

interface PointToCopy {
  readonly source: Repository
  readonly target: Repository
  readonly wanted: SealedManifest
}

/** Another one may have copied the same meanwhile. Otherwise rejects with `error`. */
async function madeMeanwhile(
  { target, wanted }: PointToCopy,
  error: PlatformError,
  { signal }: CallOptions,
): Promise<RestorePointCopy> {
  let present: SealedManifest
  try {
    present = await target.getRestorePoint(wanted.manifest.restorePointId, { signal })
  } catch (missing) {
    throw isPlatformError(missing, 'repository.restore_point_not_found') ? error : missing
  }
  return presentCopy(wanted, present)
}

/** The base, with a chain that can be built on; undefined where it cannot be made so. */
async function withRoom(
  target: Repository,
  base: CopyBase | undefined,
  doubts: string[],
  { signal }: CallOptions,
): Promise<CopyBase | undefined> {
  if (base === undefined) return undefined
  const { restorePointId } = base.parent.manifest
  try {
    if (await target.isChainFull(restorePointId, { signal }))
      await target.chainCare?.shorten(restorePointId, { signal })
    return base
  } catch (error) {
    signal.throwIfAborted()
    doubts.push(`All of it was copied: nothing can be built on the copy before it: ${messageOf(error)}`)
    return undefined
  }
}

/** What to build on after a copy onto `base` failed. Throws `error` where that would not help. */
function nextBase(source: Repository, wanted: SealedManifest, base: CopyBase, error: unknown): CopyBase | undefined {
  if (!isPlatformError(error)) throw error
  if (isDamageOf(source.repositoryId, error)) {
    if (error.details['restorePointId'] === wanted.manifest.restorePointId) throw error
    return { parent: base.parent }
  }
  const isGone = isPlatformError(error, 'repository.restore_point_not_found')
  if (isGone && error.details['restorePointId'] === base.inSource?.manifest.restorePointId)
    return { parent: base.parent }
  const isOfTarget =
    isPlatformError(error, 'repository.chunk_corrupt') || isPlatformError(error, 'repository.base_mismatch')
  if (isOfTarget) return undefined
  throw error
}

async function copyOnto(
  { source, target, wanted, base }: PointToCopy & { readonly base: CopyBase | undefined },
  options: CopyPointOptions,
): Promise<SealedManifest> {
  const { signal, onProgress } = options
  const planned = planCopyDisks(wanted, base)
  const builds = planned.some(({ mode }) => mode !== 'full')
  const { restorePointId, vmId } = wanted.manifest
  await using reader = await openPoint(source, wanted, { signal })
  const isCompared = planned.every(({ mode }) => mode !== 'incremental')
  const baseIds =
    isCompared || base?.inSource === undefined ? new Map() : await idsOf(source, base.inSource, { signal })
  await using writer = await target.openBackup(
    {
      restorePointId,
      vmId,
      ...(builds && base !== undefined ? { parentRestorePointId: base.parent.manifest.restorePointId } : {}),
      disks: planned.map(({ diskId, sizeBytes, mode }) => ({ diskId, sizeBytes, mode })),
    },
    { signal },
  )
  const parts = { source, target, reader, writer, planned, baseIds, means: options }
  const copied = await copyPointDisks(parts, { signal, onProgress })
  return await writer.seal(factsOf(wanted, planned, copied), { signal })
}

/** The ids of a restore point's disks; it is closed again. */
async function idsOf(
  source: Repository,
  point: SealedManifest,
  options: CallOptions,
): Promise<ReadonlyMap<string, ChunkIds>> {
  await using reader = await openPoint(source, point, options)
  return new Map([...reader.disks].map(([diskId, { chunkIds }]) => [diskId, chunkIds]))
}

async function openPoint(
  source: Repository,
  { manifest: { restorePointId } }: SealedManifest,
  { signal }: CallOptions,
): Promise<RestorePointReader> {
  try {
    return await source.openRestorePoint(restorePointId, { signal })
  } catch (error) {
    throw placedDamage(error, { repositoryId: source.repositoryId, restorePointId })
  }
}

/** Facts of the VM and of its backup stay; what only the other repository can keep does not. */
function factsOf(
  wanted: SealedManifest,
  planned: readonly PlannedCopyDisk[],
  copied: ReadonlyMap<string, CopyProgress>,
): SealFacts {
  const { manifest } = wanted
  return {
    tenantId: manifest.tenantId,
    agentId: manifest.agentId,
    jobId: manifest.jobId,
    vmName: manifest.vmName,
    platform: manifest.platform,
    platformRef: manifest.platformRef,
    definition: manifest.definition,
    memoryBytes: manifest.memoryBytes,
    cpuCount: manifest.cpuCount,
    takenAt: manifest.takenAt,
    consistency: manifest.consistency,
    origin: originOf(wanted),
    // Without `tracking`: a base of change tracking is of one repository. Here the next backup would believe in a checkpoint
    // that the platform has moved on for the other.
    disks: planned.map(({ diskId, mode, reason }) => {
      const counted = copied.get(diskId)
      return {
        diskId,
        mode,
        reason,
        readBytes: counted?.readBytes ?? 0,
        writtenBytes: counted?.writtenBytes ?? 0,
        zeroedBytes: counted?.zeroedBytes ?? 0,
      }
    }),
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
