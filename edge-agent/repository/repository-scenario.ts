import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { copyBackup } from '../mover/copy-backup.ts'
import { copyRestore } from '../mover/copy-restore.ts'
import type { CopyProgress } from '../mover/mover.ts'
import type { BackupWriter, NewBackup, NewBackupDisk, Repository, SealFacts } from './repository.ts'
import type { SealedManifest } from './restore-point-manifest.ts'

/** One backup as tests of repositories make it, with the mover itself but no platform. */
export interface ScenarioBackup {
  readonly vmId: string
  readonly restorePointId?: string
  readonly parentRestorePointId?: string
  readonly takenAt?: Date
  readonly disks: readonly (NewBackupDisk & { readonly source: BlockSource })[]
}

/** Backs up and seals. */
export async function backUp(
  repository: Repository,
  backup: ScenarioBackup,
  call: CallOptions,
): Promise<SealedManifest> {
  const asked = newBackupOf(backup)
  await using writer = await repository.openBackup(asked, call)
  const copied = await copyInto(repository, writer, backup, call)
  return await writer.seal(sealFactsOf(asked, { takenAt: backup.takenAt ?? new Date(), copied }), call)
}

export function newBackupOf(backup: ScenarioBackup): NewBackup {
  return {
    restorePointId: backup.restorePointId ?? randomUUID(),
    vmId: backup.vmId,
    ...(backup.parentRestorePointId === undefined ? {} : { parentRestorePointId: backup.parentRestorePointId }),
    disks: backup.disks.map(({ diskId, sizeBytes, mode }) => ({ diskId, sizeBytes, mode })),
  }
}

/** Runs the mover for each disk and returns what it counted. */
export async function copyInto(
  repository: Repository,
  writer: BackupWriter,
  backup: ScenarioBackup,
  call: CallOptions,
): Promise<Map<string, CopyProgress>> {
  const copied = new Map<string, CopyProgress>()
  for (const { diskId, mode, source } of backup.disks) {
    const disk = writer.disks.get(diskId)
    assert(disk !== undefined)
    const base = disk.base === undefined ? {} : { base: disk.base }
    const { sink, chunkIds } = disk
    const task = { mode, source, sink, chunkIds, idKey: repository.idKey, ...base }
    copied.set(diskId, await copyBackup(task, call))
  }
  return copied
}

/** Facts as the backup flow gives them, of an invented VM. */
export function sealFactsOf(
  backup: NewBackup,
  facts: { readonly takenAt: Date; readonly copied?: ReadonlyMap<string, CopyProgress> },
): SealFacts {
  return {
    tenantId: '11111111-1111-4111-8111-111111111111',
    agentId: '22222222-2222-4222-8222-222222222222',
    jobId: '33333333-3333-4333-8333-333333333333',
    vmName: 'scenario',
    platform: 'kvm',
    platformRef: backup.vmId,
    definition: {},
    memoryBytes: 0,
    cpuCount: 1,
    takenAt: facts.takenAt.toISOString(),
    consistency: 'crash',
    disks: backup.disks.map(({ diskId, mode }) => {
      const counted = facts.copied?.get(diskId)
      return {
        diskId,
        mode,
        reason: reasonOf[mode],
        readBytes: counted?.readBytes ?? 0,
        writtenBytes: counted?.writtenBytes ?? 0,
        zeroedBytes: counted?.zeroedBytes ?? 0,
      }
    }),
  }
}

const reasonOf = { full: 'FULL_FIRST', incremental: 'INCREMENTAL', compare: 'COMPARE_NO_TRACKING' } as const

/** All disks of a restore point as a restore gives them: every chunk checked against its id. */
export async function restoreAll(
  repository: Repository,
  restorePointId: string,
  call: CallOptions,
): Promise<Map<string, Uint8Array>> {
  await using reader = await repository.openRestorePoint(restorePointId, call)
  const contents = new Map<string, Uint8Array>()
  for (const [diskId, { source, chunkIds }] of reader.disks) {
    await using disk = createMemoryDisk({ sizeBytes: source.sizeBytes })
    await copyRestore({ source, sink: disk, chunkIds, idKey: repository.idKey }, call)
    contents.set(diskId, disk.bytes)
  }
  return contents
}
