import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue, CatalogueTransaction } from '../catalog/catalogue.ts'
import type { Repository } from '../repository/repository.ts'
import type { SealedManifest } from '../repository/restore-point-manifest.ts'
import { recordRestorePoint } from './record-restore-point.ts'

export interface AdoptOptions extends CallOptions {
  readonly catalogue: Catalogue
  readonly repository: Repository
  /** Absent: of all VMs. */
  readonly vmId?: string
}

/**
 * Adds restore points that are sealed in the repository and not in the catalogue: the agent was stopped between the
 * two, or its database is younger. A restore point exists if and only if its manifest does.
 * Rejects as `Repository.listRestorePoints`; what came before the rejection is adopted.
 * @returns the ids of the adopted points, oldest first
 */
export async function adoptRestorePoints({ catalogue, repository, vmId, signal }: AdoptOptions): Promise<string[]> {
  const adopted: string[] = []
  const filter = vmId === undefined ? {} : { vmId }
  for await (const sealed of repository.listRestorePoints(filter, { signal })) {
    if (await adoptRestorePoint(catalogue, sealed, { signal })) adopted.push(sealed.manifest.restorePointId)
  }
  return adopted
}

/** Returns false where the catalogue has it. */
export async function adoptRestorePoint(
  catalogue: Catalogue,
  sealed: SealedManifest,
  options: CallOptions,
): Promise<boolean> {
  return await catalogue.transaction(async (tx) => {
    if ((await tx.restorePoints.find(sealed.manifest.restorePointId)) !== undefined) return false
    await ensureVmContext(tx, sealed)
    await recordRestorePoint(tx, sealed, { adopted: true })
    return true
  }, options)
}

/** The VM's context as the manifest knows it. Where another context has its place on the platform, it gets none. */
async function ensureVmContext(tx: CatalogueTransaction, { manifest }: SealedManifest): Promise<void> {
  if ((await tx.vms.find(manifest.vmId)) !== undefined) return
  const taken = await tx.vms.findByRef(manifest.platform, manifest.platformRef)
  await tx.vms.put({
    vmId: manifest.vmId,
    platform: manifest.platform,
    ...(taken === undefined ? { platformRef: manifest.platformRef } : {}),
    name: manifest.vmName,
    powerState: 'unknown',
    guestAgent: false,
    memoryBytes: manifest.memoryBytes,
    cpuCount: manifest.cpuCount,
    present: false,
    disks: manifest.disks.map(({ diskId, sizeBytes, tracking }) => ({
      diskId,
      sizeBytes,
      changeTracking: tracking !== undefined,
    })),
  })
}
