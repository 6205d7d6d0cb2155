import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import type { DiskBackupFacts } from '@sendense/shared/contracts/restore-point.ts'
import { backupReasons } from '@sendense/shared/domain/backup-reason.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatLocalTime } from './local-time.ts'
import { formatTable } from './table.ts'

export function formatRestorePointTable(points: readonly RestorePointView[]): string {
  return formatTable(
    points,
    [
      { heading: 'restore point', text: (point) => point.restorePointId },
      { heading: 'vm', text: (point) => point.vmName },
      { heading: 'taken', text: (point) => formatLocalTime(point.takenAt) },
      { heading: 'mode', text: modeText },
      { heading: 'consistency', text: (point) => point.consistency },
      { heading: 'read', text: (point) => sizeText(point, 'readBytes'), align: 'right' },
      { heading: 'stored', text: (point) => sizeText(point, 'storedBytes'), align: 'right' },
      { heading: 'verified', text: verifiedText },
    ],
    'No restore points.',
  )
}

/** Why each disk was backed up the way it was, a line a disk. */
export function reasonLines(point: RestorePointView): string[] {
  return point.disks.map(
    (disk) =>
      `${disk.diskId}: ${disk.mode}: ${backupReasons[disk.reason].sentence} ${formatByteSize(disk.readBytes)} read.`,
  )
}

function modeText(point: RestorePointView): string {
  return [...new Set(point.disks.map((disk) => disk.mode))].join(', ')
}

function verifiedText({ lastVerification: verification }: RestorePointView): string {
  if (verification === null) return 'not yet'
  return `${verification.outcome} (${verification.level}) ${formatLocalTime(verification.at)}`
}

function sizeText(point: RestorePointView, field: keyof DiskBackupFacts & ('readBytes' | 'storedBytes')): string {
  return formatByteSize(point.disks.reduce((sum, disk) => sum + disk[field], 0))
}
