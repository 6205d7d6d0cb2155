import { randomBytes } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import { ChunkIds } from '../../../mover/chunk-ids.ts'
import { baseDiskOf, baseMismatch, checkNewBackup } from '../../new-backup-check.ts'
import type { BackupWriterDisk, NewBackup, NewBackupDisk, RepositoryCapacity } from '../../repository.ts'
import type { SealedManifest } from '../../restore-point-manifest.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { generationOf } from '../generation.ts'
import { WriterLease } from '../lease/writer-lease.ts'
import { listManifests, readManifest } from '../manifest-objects.ts'
import type { PackLookup } from '../read/pack-lookup.ts'
import { loadChunkIds, openPackLookup } from '../read/restore-point-map.ts'
import { BackupSession } from './backup-session.ts'
import { ChunkBackupWriter } from './chunk-backup-writer.ts'
import { sessionDiskSink } from './session-disk-sink.ts'

/** Repository.openBackup for chunk repositories. Errors of the store pass untranslated. */
export async function openChunkBackup(
  context: ChunkContext,
  backup: NewBackup,
  capacity: RepositoryCapacity,
  { signal }: CallOptions,
): Promise<ChunkBackupWriter> {
  checkNewBackup(backup)
  expectSpace(backup, capacity)
  await using undo = new AsyncDisposableStack()
  const { store, agentId, clock, nowMs, newId, logger } = context
  const { vmId, restorePointId } = backup
  const asked = { store, context, agentId, vmId, restorePointId, generationOf, clock, nowMs, newId, logger }
  const lease = undo.use(await WriterLease.take({ ...asked, signal }))
  const parent = await findParent(context, backup, { signal })
  const index = await context.index({ signal, storeNow: lease.storeNow() })
  const session = undo.use(new BackupSession({ context, backup, parent, lease, index }))
  const lookup = parent === undefined ? undefined : await openPackLookup(context, parent, { signal })
  session.parentLookup = lookup
  const disks = new Map<string, BackupWriterDisk>()
  for (const disk of backup.disks) {
    const opened = await openDisk({ context, session, parent, lookup }, disk, { signal })
    undo.use(opened.sink)
    disks.set(disk.diskId, opened)
  }
  return new ChunkBackupWriter({ context, session, disks, owned: undo.move() })
}

function expectSpace(backup: NewBackup, { freeBytes }: RepositoryCapacity): void {
  const neededBytes = backup.disks.reduce((sum, disk) => sum + (disk.expectedBytes ?? 0), 1)
  if (freeBytes >= neededBytes) return
  const text = `the repository has ${freeBytes} bytes free, the backup needs at least ${neededBytes}`
  throw new PlatformError('repository.no_space', text, { details: { neededBytes, freeBytes } })
}

async function findParent(
  context: ChunkContext,
  backup: NewBackup,
  { signal }: CallOptions,
): Promise<SealedManifest | undefined> {
  const places = await listManifests(context, { vmId: backup.vmId }, { signal })
  if (places.some(({ restorePointId }) => restorePointId === backup.restorePointId)) {
    throw new PlatformError('input.invalid', `restore point ${backup.restorePointId} exists already`)
  }
  const parentId = backup.parentRestorePointId
  if (parentId === undefined) return undefined
  const place = places.find(({ restorePointId }) => restorePointId === parentId)
  if (place === undefined) throw baseMismatch(`VM ${backup.vmId} has no restore point ${parentId}`, parentId)
  const parent = await readManifest(context, place, { signal })
  for (const disk of backup.disks) {
    if (disk.mode === 'full') continue
    const base = baseDiskOf(disk, backup, parent)
    if (base.chunkSizeBytes === context.descriptor.chunkSizeBytes) continue
    throw baseMismatch(`disk ${disk.diskId} has chunks of ${base.chunkSizeBytes} bytes`, parentId)
  }
  return parent
}

interface OpenDiskParts {
  readonly context: ChunkContext
  readonly session: BackupSession
  readonly parent: SealedManifest | undefined
  readonly lookup: PackLookup | undefined
}

async function openDisk(
  { context, session, parent, lookup }: OpenDiskParts,
  asked: NewBackupDisk,
  { signal }: CallOptions,
): Promise<BackupWriterDisk> {
  const { diskId, sizeBytes } = asked
  const sink = sessionDiskSink(context, session, { diskId, sizeBytes, newPackId })
  if (asked.mode === 'full' || parent === undefined || lookup === undefined) {
    return { diskId, sink, chunkIds: new ChunkIds(sizeBytes, context.descriptor.chunkSizeBytes) }
  }
  const chunkIds = await loadChunkIds(context, lookup, baseDiskOf(asked, session.backup, parent), { signal })
  return { diskId, sink, chunkIds }
}

function newPackId(): string {
  return randomBytes(20).toString('hex')
}
