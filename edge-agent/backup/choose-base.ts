import { isPlatformError, type PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import type { RestorePointRecord } from '../catalog/restore-point-store.ts'
import type { DiskTracking, VmContextRecord } from '../catalog/vm-context-store.ts'
import type { TrackingToken } from '../platforms/source-connector.ts'
import type { Repository } from '../repository/repository.ts'
import type { SealedManifest } from '../repository/restore-point-manifest.ts'
import { toDiskTracking } from './record-restore-point.ts'

export interface BackupBase {
  /** The restore point to build on; absent: every disk is read in full. */
  readonly parent?: SealedManifest
  /** Nothing can be built on the parent any more: its chain is as long as chains get. */
  readonly chainFull: boolean
  /** The newest restore point, where it cannot be trusted and is therefore not the parent. */
  readonly damaged?: { readonly restorePointId: string; readonly error: PlatformError }
  /** Found sealed after a crash; its first child says so. */
  readonly parentAdopted: boolean
  /** For the connector. A token without a checkpoint means: there is a base, but no tracking to trust. */
  readonly tokens: ReadonlyMap<string, TrackingToken>
  /** Sentences for the job's log, where something is not as it should be. */
  readonly doubts: readonly string[]
}

/**
 * Finds what the next backup of a VM builds on. A base is (restore point, manifest hash, checkpoint, size,
 * granularity), kept in the catalogue and in the sealed manifest: where the two do not agree on a disk, its data is
 * compared, never guessed.
 */
export async function chooseBase(
  { catalogue, repository, vm }: { catalogue: Catalogue; repository: Repository; vm: VmContextRecord },
  options: CallOptions,
): Promise<BackupBase> {
  const newest = await catalogue.transaction(
    async (tx) => await tx.restorePoints.findNewest(vm.vmId, repository.repositoryId),
    options,
  )
  if (newest === undefined) return { ...noBase, doubts: [] }
  const found = await findSealed(repository, newest, options)
  if ('doubts' in found) return found
  const { parent, chainFull } = found
  const doubts: string[] = []
  if (parent.manifestHash !== newest.manifestHash) {
    doubts.push('The newest restore point is not the one the catalogue remembers: all data is compared.')
  }
  const tokens = new Map<string, TrackingToken>()
  const sealedTracking = toDiskTracking(parent)
  for (const { diskId, sizeBytes } of parent.manifest.disks) {
    const known = vm.disks.find((disk) => disk.diskId === diskId)?.tracking
    const sealed = sealedTracking.get(diskId)
    const trusted = known !== undefined && sealed !== undefined && agree(known, sealed)
    tokens.set(diskId, {
      diskId,
      sizeBytes,
      checkpoint: trusted ? sealed.checkpoint : '',
      granularityBytes: trusted ? sealed.granularityBytes : 0,
    })
    if (sealed !== undefined && !trusted) {
      doubts.push(`Catalogue and restore point do not agree on the change tracking of ${diskId}: its data is compared.`)
    }
  }
  return { parent, chainFull, parentAdopted: newest.adopted, tokens, doubts }
}

const noBase = { chainFull: false, parentAdopted: false, tokens: new Map<string, TrackingToken>() } as const

/** Checkpoints on the platform that may still serve: those the catalogue calls a base. */
export function checkpointsToKeep(vm: VmContextRecord): TrackingToken[] {
  return vm.disks.flatMap(({ diskId, tracking }) =>
    tracking === undefined
      ? []
      : [
          {
            diskId,
            sizeBytes: tracking.sizeBytes,
            checkpoint: tracking.checkpoint,
            granularityBytes: tracking.granularityBytes,
          },
        ],
  )
}

async function findSealed(
  repository: Repository,
  { restorePointId }: RestorePointRecord,
  options: CallOptions,
): Promise<{ readonly parent: SealedManifest; readonly chainFull: boolean } | BackupBase> {
  try {
    const parent = await repository.getRestorePoint(restorePointId, options)
    return { parent, chainFull: await repository.isChainFull(restorePointId, options) }
  } catch (error) {
    if (isPlatformError(error, 'repository.restore_point_not_found')) {
      const doubt = 'The newest restore point is no longer in the repository: a full backup begins a new chain.'
      return { ...noBase, doubts: [doubt] }
    }
    if (isPlatformError(error, 'repository.manifest_invalid')) {
      const doubt = 'The newest restore point cannot be trusted: a full backup begins a new chain.'
      return { ...noBase, damaged: { restorePointId, error }, doubts: [doubt] }
    }
    throw error
  }
}

function agree(known: DiskTracking, sealed: DiskTracking): boolean {
  return (
    known.restorePointId === sealed.restorePointId &&
    known.manifestHash === sealed.manifestHash &&
    known.checkpoint === sealed.checkpoint &&
    known.granularityBytes === sealed.granularityBytes &&
    known.sizeBytes === sealed.sizeBytes
  )
}
