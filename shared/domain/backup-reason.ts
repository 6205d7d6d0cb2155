/** How the data of one disk was chosen in a backup run. */
export const backupModes = ['full', 'incremental', 'compare'] as const
export type BackupMode = (typeof backupModes)[number]

/**
 * Why a disk was backed up the way it was. Every run of every disk carries one; the portal shows the
 * sentence, alerts act on the code.
 */
export const backupReasons = {
  FULL_FIRST: { mode: 'full', sentence: 'First backup of this disk: everything allocated was read.' },
  FULL_REQUESTED: { mode: 'full', sentence: 'A full backup was asked for.' },
  FULL_CHAIN_LIMIT: {
    mode: 'full',
    sentence: 'The chain of increments has reached its longest: everything allocated was read into a new one.',
  },
  FULL_RESIZED: {
    mode: 'full',
    sentence: 'The disk has another size than in the last restore point: everything allocated was read.',
  },
  FULL_PARENT_DAMAGED: {
    mode: 'full',
    sentence: 'The last restore point is damaged: everything allocated was read into a new chain.',
  },
  FULL_COPY: {
    mode: 'full',
    sentence: 'Copied from another repository, with nothing to build on: everything allocated was read there.',
  },
  INCREMENTAL: {
    mode: 'incremental',
    sentence: 'Change tracking was intact: only what changed since the last restore point was read.',
  },
  INCREMENTAL_REDEFINED: {
    mode: 'incremental',
    sentence: 'The checkpoint was redefined after the VM had been recreated; only what changed was read.',
  },
  RECOVERED: {
    mode: 'incremental',
    sentence:
      'The agent had stopped after the last restore point was sealed; its checkpoint was adopted and only what changed was read.',
  },
  INCREMENTAL_COPY: {
    mode: 'incremental',
    sentence: 'Copied from another repository: only what differs from the copy before was read there.',
  },
  COMPARE_TRACKING_LOST: {
    mode: 'compare',
    sentence: 'Change tracking was lost or damaged: everything was read, only differences were stored.',
  },
  COMPARE_REVERTED: {
    mode: 'compare',
    sentence: 'The disk was reverted or replaced: everything was read, only differences were stored.',
  },
  COMPARE_NO_TRACKING: {
    mode: 'compare',
    sentence: 'This disk cannot track changes: everything was read, only differences were stored.',
  },
  COMPARE_COPY: {
    mode: 'compare',
    sentence: 'Copied from another repository: everything allocated was read there, only differences were stored.',
  },
  COMPARE_SCHEDULED: {
    mode: 'compare',
    sentence: 'A scheduled comparison: everything was read to prove the change tracker, only differences were stored.',
  },
} as const satisfies Record<string, { mode: BackupMode; sentence: string }>
export type BackupReason = keyof typeof backupReasons
export const backupReasonCodes = Object.keys(backupReasons) as [BackupReason, ...BackupReason[]]
