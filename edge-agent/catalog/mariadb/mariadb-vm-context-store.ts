import { PowerState } from '@sendense/shared/contracts/inventory.ts'
import { platformKinds } from '@sendense/shared/domain/platform.ts'
import { and, asc, eq, inArray, notInArray } from 'drizzle-orm'
import { z } from 'zod'
import type { DiskTracking, VmContextRecord, VmContextStore, VmDiskRecord } from '../vm-context-store.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { vmContext, vmDisk } from './schema.ts'

const Platform = z.enum(platformKinds)
type VmRow = typeof vmContext.$inferSelect
type DiskRow = typeof vmDisk.$inferSelect

export function createMariadbVmContextStore(tx: DatabaseTransaction): VmContextStore {
  const withDisks = async (rows: VmRow[]): Promise<VmContextRecord[]> => {
    if (rows.length === 0) return []
    const vmIds = rows.map((row) => row.vmId)
    const disks = await tx.select().from(vmDisk).where(inArray(vmDisk.vmId, vmIds)).orderBy(asc(vmDisk.position))
    const disksOf = Map.groupBy(disks, (disk) => disk.vmId)
    return rows.map((row) => parseRow(row, disksOf.get(row.vmId) ?? []))
  }
  return {
    async find(vmId) {
      return (await withDisks(await tx.select().from(vmContext).where(eq(vmContext.vmId, vmId))))[0]
    },
    async findByRef(platform, platformRef) {
      const byRef = and(eq(vmContext.platform, platform), eq(vmContext.platformRef, platformRef))
      return (await withDisks(await tx.select().from(vmContext).where(byRef)))[0]
    },
    async list() {
      return await withDisks(await tx.select().from(vmContext).orderBy(asc(vmContext.name)))
    },
    async put({ vmId, disks, restoredFrom, platformRef, hostName, ...facts }) {
      const values = {
        ...facts,
        platformRef: platformRef ?? null,
        hostName: hostName ?? null,
        restoredFromRestorePointId: restoredFrom?.restorePointId ?? null,
        restoredByJobId: restoredFrom?.jobId ?? null,
      }
      await tx
        .insert(vmContext)
        .values({ vmId, ...values })
        .onDuplicateKeyUpdate({ set: values })
      const diskIds = disks.map((disk) => disk.diskId)
      await tx
        .delete(vmDisk)
        .where(and(eq(vmDisk.vmId, vmId), diskIds.length === 0 ? undefined : notInArray(vmDisk.diskId, diskIds)))
      for (const [position, { diskId, ...disk }] of disks.entries()) {
        const row = { ...disk, position }
        await tx
          .insert(vmDisk)
          .values({ vmId, diskId, ...row })
          .onDuplicateKeyUpdate({ set: row })
      }
    },
    async setTracking(vmId, tracking) {
      const disks = await tx.select().from(vmDisk).where(eq(vmDisk.vmId, vmId))
      for (const { diskId } of disks) {
        await tx
          .update(vmDisk)
          .set(toColumns(tracking.get(diskId)))
          .where(and(eq(vmDisk.vmId, vmId), eq(vmDisk.diskId, diskId)))
      }
    },
  }
}

function toColumns(tracking: DiskTracking | undefined) {
  return {
    trackingRestorePointId: tracking?.restorePointId ?? null,
    trackingManifestHash: tracking?.manifestHash ?? null,
    trackingCheckpoint: tracking?.checkpoint ?? null,
    trackingGranularityBytes: tracking?.granularityBytes ?? null,
    trackingSizeBytes: tracking?.sizeBytes ?? null,
  }
}

function parseRow(row: VmRow, disks: readonly DiskRow[]): VmContextRecord {
  const restoredFrom =
    row.restoredFromRestorePointId === null || row.restoredByJobId === null
      ? undefined
      : { restorePointId: row.restoredFromRestorePointId, jobId: row.restoredByJobId }
  return {
    vmId: row.vmId,
    platform: Platform.parse(row.platform),
    ...(row.platformRef === null ? {} : { platformRef: row.platformRef }),
    name: row.name,
    ...(row.hostName === null ? {} : { hostName: row.hostName }),
    powerState: PowerState.parse(row.powerState),
    guestAgent: row.guestAgent,
    memoryBytes: row.memoryBytes,
    cpuCount: row.cpuCount,
    present: row.present,
    ...(restoredFrom === undefined ? {} : { restoredFrom }),
    disks: disks.map(parseDisk),
  }
}

function parseDisk(row: DiskRow): VmDiskRecord {
  const disk = { diskId: row.diskId, sizeBytes: row.sizeBytes, changeTracking: row.changeTracking }
  const { trackingRestorePointId, trackingManifestHash, trackingCheckpoint } = row
  if (trackingRestorePointId === null || trackingManifestHash === null || trackingCheckpoint === null) return disk
  return {
    ...disk,
    tracking: {
      restorePointId: trackingRestorePointId,
      manifestHash: trackingManifestHash,
      checkpoint: trackingCheckpoint,
      granularityBytes: row.trackingGranularityBytes ?? 0,
      sizeBytes: row.trackingSizeBytes ?? 0,
    },
  }
}
