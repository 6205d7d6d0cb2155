import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import type { DiskBackupFacts } from '@sendense/shared/contracts/restore-point.ts'
import { backupReasons, type BackupMode } from '@sendense/shared/domain/backup-reason.ts'
import type { ConsistencyLevel } from '@sendense/shared/domain/consistency.ts'
import type { z } from 'zod'
import type { BadgeTone } from '../../ui/badge.tsx'

type DiskFacts = z.infer<typeof DiskBackupFacts>

export const modeWord: { readonly [M in BackupMode]: string } = {
  full: 'Full',
  incremental: 'Incremental',
  compare: 'Compared',
}

/** A comparison read everything although it should not have been needed: worth a look. */
export const modeTone: { readonly [M in BackupMode]: BadgeTone } = {
  full: 'accent',
  incremental: 'neutral',
  compare: 'warning',
}

export const consistencyWord: { readonly [L in ConsistencyLevel]: string } = {
  application: 'Application',
  filesystem: 'File system',
  crash: 'Crash',
}

export const consistencySentence: { readonly [L in ConsistencyLevel]: string } = {
  application: 'Applications had flushed their data: as after a clean stop.',
  filesystem: 'File systems were frozen by the guest agent: nothing half-written.',
  crash: 'As after a power cut: file systems replay their journals at the first start.',
}

export interface RestorePointSums {
  readonly readBytes: number
  readonly storedBytes: number
  readonly sizeBytes: number
  /** The modes that occur, each once: several where disks differ. */
  readonly modes: readonly BackupMode[]
}

export function sumDisks(disks: readonly DiskFacts[]): RestorePointSums {
  return {
    readBytes: disks.reduce((sum, disk) => sum + disk.readBytes, 0),
    storedBytes: disks.reduce((sum, disk) => sum + disk.storedBytes, 0),
    sizeBytes: disks.reduce((sum, disk) => sum + disk.sizeBytes, 0),
    modes: [...new Set(disks.map((disk) => disk.mode))],
  }
}

export interface DiskReason {
  readonly diskIds: readonly string[]
  readonly sentence: string
}

/** Why the disks were read as they were: one entry a reason, with the disks it holds for. */
export function diskReasons(disks: readonly DiskFacts[]): DiskReason[] {
  const byReason = Map.groupBy(disks, (disk) => disk.reason)
  return [...byReason].map(([reason, members]) => ({
    diskIds: members.map((disk) => disk.diskId),
    sentence: backupReasons[reason].sentence,
  }))
}

export interface VerificationWords {
  readonly tone: BadgeTone
  readonly word: string
}

export function verificationWords(point: Pick<RestorePointView, 'lastVerification'>): VerificationWords {
  return verificationOutcomes[point.lastVerification?.outcome ?? 'none']
}

const verificationOutcomes = {
  none: { tone: 'neutral', word: 'Not verified' },
  passed: { tone: 'success', word: 'Verified' },
  failed: { tone: 'danger', word: 'Damaged' },
} as const satisfies Record<string, VerificationWords>
