import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { isPlatformError, type PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { runParallel } from '../../object-store/run-parallel.ts'
import type { Repository } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import type { CopyMeans, PointProgress } from './copy-disks.ts'
import { copyKnownPoint, expectTwo, type RestorePointCopy } from './copy-restore-point.ts'
import { listPoints } from './list-points.ts'

/** VMs whose restore points are copied at the same time, unless told otherwise. */
const VMS_AT_ONCE = 2

/** Which restore points are wanted. Absent: all. */
export interface CopyFilter {
  readonly vmId?: string
}

type PointFacts = Pick<SealedManifest['manifest'], 'restorePointId' | 'vmId' | 'vmName' | 'takenAt'>

/** What became of one restore point. `gone`: it was deleted in the source before its turn came. */
export type CopyResult = PointFacts &
  (RestorePointCopy | { readonly outcome: 'gone' } | { readonly outcome: 'failed'; readonly error: PlatformError })

export interface SetProgress {
  /** Restore points that have a result. */
  readonly pointsDone: number
  /** As listed at the start. */
  readonly pointsTotal: number
  /** Those that are being copied now. */
  readonly current: readonly (PointFacts & PointProgress)[]
}

export interface CopySummary {
  readonly copied: number
  readonly present: number
  readonly gone: number
  readonly failed: number
  /** What the source said of restore points whose manifests cannot be trusted: those are in no result. */
  readonly damage?: PlatformError
}

export interface CopyMissingOptions extends CopyMeans, CallOptions {
  /** Hears of each restore point as it comes to its end. */
  readonly onResult?: (result: CopyResult) => void
  readonly onProgress?: (progress: SetProgress) => void
  /** Default 2. */
  readonly vmsAtOnce?: number
}

/** After these nothing else could be copied either. */
const endsTheSet: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'repository.no_space',
  'repository.missing',
  'repository.not_a_repository',
  'repository.key_wrong',
  'repository.key_missing',
])

/**
 * Copies all restore points of `source` that `target` does not have: of each VM oldest first, so that each builds on the one
 * before it; the VM with the oldest point first, some VMs at once. One that fails does not keep the others from being copied.
 * Rejects with what says that nothing can be copied any more (`repository.no_space`, `repository.missing`, …), or with the
 * signal's reason; what was copied before stays, and the next call goes on.
 */
export async function copyMissing(
  source: Repository,
  target: Repository,
  filter: CopyFilter,
  options: CopyMissingOptions,
): Promise<CopySummary> {
  expectTwo(source, target)
  const { signal, vmsAtOnce = VMS_AT_ONCE } = options
  const { vms, damage } = await listVms(source, filter, { signal })
  const set = new SetOfCopies(
    source,
    target,
    [...vms.values()].reduce((sum, count) => sum + count, 0),
    options,
  )
  await runParallel(vms.keys(), { concurrency: vmsAtOnce, signal }, async (vmId, call) => await set.copyVm(vmId, call))
  return { ...set.counts, ...(damage === undefined ? {} : { damage }) }
}

/** Restore points by VM, the VM with the oldest one first. */
async function listVms(
  source: Repository,
  filter: CopyFilter,
  { signal }: CallOptions,
): Promise<{ readonly vms: ReadonlyMap<string, number>; readonly damage?: PlatformError }> {
  const vms = new Map<string, number>()
  try {
    for await (const { manifest } of source.listRestorePoints(filter, { signal })) {
      vms.set(manifest.vmId, (vms.get(manifest.vmId) ?? 0) + 1)
    }
    return { vms }
  } catch (error) {
    if (!isPlatformError(error, 'repository.manifest_invalid')) throw error
    return { vms, damage: error }
  }
}

class SetOfCopies {
  readonly counts = { copied: 0, present: 0, gone: 0, failed: 0 }
  readonly #source: Repository
  readonly #target: Repository
  readonly #options: CopyMissingOptions
  readonly #current = new Map<string, PointFacts & PointProgress>()
  readonly #pointsTotal: number
  #pointsDone = 0

  constructor(source: Repository, target: Repository, pointsTotal: number, options: CopyMissingOptions) {
    this.#source = source
    this.#target = target
    this.#pointsTotal = pointsTotal
    this.#options = options
  }

  async copyVm(vmId: string, { signal }: CallOptions): Promise<void> {
    const { points: inSource } = await listPoints(this.#source, vmId, { signal })
    const inTarget = [...(await listPoints(this.#target, vmId, { signal })).points]
    for (const wanted of inSource) {
      signal.throwIfAborted()
      const result = await this.#copyOne({ wanted, inSource, inTarget }, { signal })
      if (result.outcome === 'copied') inTarget.push(result.sealed)
      this.#tell(result)
    }
  }

  async #copyOne(known: Parameters<typeof copyKnownPoint>[2], { signal }: CallOptions): Promise<CopyResult> {
    const { restorePointId, vmId, vmName, takenAt } = known.wanted.manifest
    const facts = { restorePointId, vmId, vmName, takenAt }
    const onProgress = (progress: PointProgress): void => {
      this.#current.set(restorePointId, { ...facts, ...progress })
      this.#report()
    }
    try {
      const options = { ...this.#options, signal, onProgress }
      return { ...facts, ...(await copyKnownPoint(this.#source, this.#target, known, options)) }
    } catch (error) {
      signal.throwIfAborted()
      const failure = toPlatformError(error)
      if (endsTheSet.has(failure.code)) throw failure
      const isGone =
        failure.code === 'repository.restore_point_not_found' && failure.details['restorePointId'] === restorePointId
      return isGone ? { ...facts, outcome: 'gone' } : { ...facts, outcome: 'failed', error: failure }
    } finally {
      this.#current.delete(restorePointId)
    }
  }

  #tell(result: CopyResult): void {
    this.counts[result.outcome] += 1
    this.#pointsDone += 1
    this.#options.onResult?.(result)
    this.#report()
  }

  #report(): void {
    const progress = {
      pointsDone: this.#pointsDone,
      pointsTotal: this.#pointsTotal,
      current: [...this.#current.values()],
    }
    this.#options.onProgress?.(progress)
  }
}
