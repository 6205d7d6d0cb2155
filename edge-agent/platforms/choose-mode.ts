import { type BackupMode, type BackupReason, backupReasons } from '@sendense/shared/domain/backup-reason.ts'
import type { TrackingToken } from './source-connector.ts'

/** What the platform says of the checkpoint that a token names. */
export interface CheckpointFacts {
  readonly granularityBytes: number
  /** It has recorded every change since it was made. */
  readonly intact: boolean
}

export interface ModeQuestion {
  /** Asked for by a person. */
  readonly full: boolean
  /** The base restore point's token of this disk. */
  readonly base: TrackingToken | undefined
  readonly sizeBytes: number
  /** Can this disk track changes at all? */
  readonly tracks: boolean
  /** The checkpoint that `base` names, where the platform has it. */
  readonly checkpoint: CheckpointFacts | undefined
}

export interface ModeAnswer {
  readonly mode: BackupMode
  readonly reason: BackupReason
}

/**
 * How a disk is backed up, and why. Never guesses: only a checkpoint that is there, intact, of the same granularity,
 * on a disk of the same size gives `incremental`. A disk of another size cannot be compared with its base: it is
 * read in full.
 */
export function chooseMode({ full, base, sizeBytes, tracks, checkpoint }: ModeQuestion): ModeAnswer {
  if (full) return because('FULL_REQUESTED')
  if (base === undefined) return because('FULL_FIRST')
  if (base.sizeBytes !== sizeBytes) return because('FULL_RESIZED')
  if (!tracks) return because('COMPARE_NO_TRACKING')
  const usable = checkpoint?.intact === true && checkpoint.granularityBytes === base.granularityBytes
  return because(base.checkpoint !== '' && usable ? 'INCREMENTAL' : 'COMPARE_TRACKING_LOST')
}

function because(reason: BackupReason): ModeAnswer {
  return { mode: backupReasons[reason].mode, reason }
}
