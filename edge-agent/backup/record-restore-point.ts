import type { RestorePointReport } from '@sendense/shared/contracts/restore-point.ts'
import type { CatalogueTransaction } from '../catalog/catalogue.ts'
import type { DiskTracking } from '../catalog/vm-context-store.ts'
import { toUsageFact } from '../jobs/usage-facts.ts'
import type { SealedManifest } from '../repository/restore-point-manifest.ts'

const POINTS_SUMMED_MAX = 10_000

/**
 * Writes the catalogue's entry of a sealed restore point with its events, and makes it the base of the VM's next
 * incremental where it is the newest and no copy: what a copy is of has its base in its own repository. The VM's
 * context must exist. Does nothing where the entry exists.
 */
export async function recordRestorePoint(
  tx: CatalogueTransaction,
  sealed: SealedManifest,
  { adopted }: { readonly adopted: boolean },
): Promise<void> {
  const report = toRestorePointReport(sealed)
  if (!(await tx.restorePoints.insert({ ...report, adopted }))) return
  const at = new Date(report.sealedAt)
  const points = await tx.restorePoints.list({ vmId: report.vmId, limit: POINTS_SUMMED_MAX })
  const isCopy = sealed.manifest.origin !== undefined
  if (!isCopy && points[0]?.restorePointId === report.restorePointId) {
    await tx.vms.setTracking(report.vmId, toDiskTracking(sealed))
  }
  await tx.outbox.append({ type: 'restore-point-sealed', restorePoint: report }, at)
  const source = { sourceId: report.restorePointId, resourceId: report.vmId, at }
  const stored = points.flatMap((point) => point.disks).reduce((sum, disk) => sum + disk.storedBytes, 0)
  const moved = report.disks.reduce((sum, disk) => sum + disk.writtenBytes, 0)
  const facts = [
    toUsageFact({ ...source, meter: 'protected-vm', amount: 1 }),
    toUsageFact({ ...source, meter: 'stored-bytes', amount: stored }),
    toUsageFact({ ...source, meter: 'ingress-bytes', amount: moved }),
  ]
  await tx.outbox.append({ type: 'usage-measured', facts }, at)
}

/** What the cloud hears of a restore point: no definition, no file names, no checkpoints. */
export function toRestorePointReport({ manifest, manifestHash }: SealedManifest): RestorePointReport {
  const { restorePointId, vmId, vmName, repositoryId, jobId, parentRestorePointId } = manifest
  return {
    restorePointId,
    vmId,
    vmName,
    repositoryId,
    jobId,
    ...(parentRestorePointId === undefined ? {} : { parentRestorePointId }),
    takenAt: manifest.takenAt,
    sealedAt: manifest.sealedAt,
    consistency: manifest.consistency,
    manifestHash,
    disks: manifest.disks.map((disk) => ({
      diskId: disk.diskId,
      sizeBytes: disk.sizeBytes,
      mode: disk.mode,
      reason: disk.reason,
      readBytes: disk.readBytes,
      writtenBytes: disk.writtenBytes,
      zeroedBytes: disk.zeroedBytes,
      storedBytes: disk.storedBytes,
    })),
  }
}

export function toDiskTracking({ manifest, manifestHash }: SealedManifest): Map<string, DiskTracking> {
  return new Map(
    manifest.disks.flatMap(({ diskId, sizeBytes, tracking }) =>
      tracking === undefined
        ? []
        : [[diskId, { restorePointId: manifest.restorePointId, manifestHash, sizeBytes, ...tracking }] as const],
    ),
  )
}
