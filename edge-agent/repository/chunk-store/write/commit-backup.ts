import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { BackupWriterDisk } from '../../repository.ts'
import type { RestorePointManifest, SealedManifest } from '../../restore-point-manifest.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { encodeIndexDelta, indexedPackBytes } from '../format/index-delta.ts'
import { indexDeltaKey, manifestKey, packSetKey } from '../format/object-keys.ts'
import { encodePackSet } from '../format/pack-set.ts'
import type { CataloguedPack } from '../index/pack-catalogue.ts'
import { putManifest } from '../manifest-objects.ts'
import type { BackupSession } from './backup-session.ts'
import { copyForward } from './copy-forward.ts'
import { protectPacks } from './protect-packs.ts'
import { protectionOf } from './protection.ts'
import { putProtected } from './put-protected.ts'
import { type Resolution, resolvePacks } from './resolve-packs.ts'

/** Directories in one index object. */
const INDEX_BYTES_MAX = 64 * 1024 * 1024
/** Times that what a collection condemns meanwhile is copied forward. */
const ROUNDS_MAX = 5
const CATALOGUE_TIMEOUT_MS = 30_000

export interface CommitParts {
  readonly context: ChunkContext
  readonly session: BackupSession
  readonly disks: ReadonlyMap<string, BackupWriterDisk>
  /** Ids of the chunk-id pages of each disk. */
  readonly pages: ReadonlyMap<string, readonly Uint8Array[]>
  readonly manifestOf: (sealedAt: Date, protectedUntil?: Date) => RestorePointManifest
}

/**
 * Makes the restore point exist: packs are durable, then come index, pack set and manifest, each only when what it refers
 * to is there for as long as the lease lasts.
 */
export async function commitBackup(parts: CommitParts, { signal }: CallOptions): Promise<SealedManifest> {
  const { context, session, manifestOf } = parts
  const { lease, packSettings } = session
  const { generation } = packSettings
  // Facts that are wrong are refused before anything is written.
  manifestOf(context.clock.now())
  const { packs, protectedUntil } = await resolveLasting(parts, { signal })
  context.crashPoint('packs-durable')
  await putIndex(context, session.packs, generation, { signal })
  context.crashPoint('index-durable')
  const { vmId, restorePointId } = session.backup
  const set = { vmId, restorePointId, revision: 0, packs: [...packs.values()] }
  const protection = protectionOf(context.settings, generation)
  await putProtected(context.store, packSetKey(set), encodePackSet(set, context), { signal, protection })
  context.crashPoint('set-durable')
  await lease.confirm({ signal })
  const inTime = AbortSignal.any([signal, lease.deadline()])
  const sealed = await putManifest(context, manifestOf(context.clock.now(), protectedUntil), {
    signal: inTime,
    generation,
  })
  await expectStillHeld(context, session, sealed, { signal })
  context.crashPoint('manifest-durable')
  await remember(context, session)
  return sealed
}

/** The restore point exists by now; what the catalogue does not hear it finds in the store. */
async function remember({ catalogue, logger }: ChunkContext, { packs, index }: BackupSession): Promise<void> {
  const locks = new Map(index.packs().map(({ packId, lockedUntil }) => [packId, lockedUntil]))
  const known = packs.map((pack) => {
    const lockedUntil = locks.get(pack.packId)
    return lockedUntil === undefined ? pack : { ...pack, lockedUntil }
  })
  try {
    await catalogue.put(known, { signal: AbortSignal.timeout(CATALOGUE_TIMEOUT_MS) })
  } catch (error) {
    logger?.warn({ err: error }, 'the catalogue does not know the new packs yet')
  }
}

interface LastingPacks extends Resolution {
  /** Until when the store says that it keeps them. */
  readonly protectedUntil?: Date
}

/** The packs, once none of them is about to be deleted. */
async function resolveLasting(parts: CommitParts, { signal }: CallOptions): Promise<LastingPacks> {
  const { context, session, disks, pages } = parts
  for (let round = 0; ; round += 1) {
    await context.dropExcluded(session.index, { signal })
    const resolution = await resolvePacks(session, disks, pages, { signal })
    if (round === ROUNDS_MAX) throw stillCondemned()
    if (resolution.condemned.length > 0) {
      await copyForward(context, session, resolution.condemned, { signal })
      continue
    }
    const protectedUntil = await protectPacks(context, session, resolution, { signal })
    if (protectedUntil === undefined) return resolution
    if (protectedUntil !== 'leaving') return { ...resolution, protectedUntil }
  }
}

function stillCondemned(): PlatformError {
  return new PlatformError('repository.io_failed', 'packs of the restore point are deleted faster than they are copied')
}

async function putIndex(
  context: ChunkContext,
  packs: readonly CataloguedPack[],
  generation: number,
  { signal }: CallOptions,
): Promise<void> {
  const protection = protectionOf(context.settings, generation)
  for (const some of inParts(packs)) {
    const index = { indexId: context.newId(), generation, packs: some }
    await putProtected(context.store, indexDeltaKey(index), encodeIndexDelta(index, context), { signal, protection })
  }
}

function* inParts(packs: readonly CataloguedPack[]): Generator<readonly CataloguedPack[]> {
  let part: CataloguedPack[] = []
  let bytes = 0
  for (const pack of packs) {
    bytes += indexedPackBytes(pack.directory)
    if (bytes > INDEX_BYTES_MAX) {
      yield part
      part = []
      bytes = indexedPackBytes(pack.directory)
    }
    part.push(pack)
  }
  if (part.length > 0) yield part
}

/** A writer that was fenced while it sealed takes its restore point back. */
async function expectStillHeld(
  context: ChunkContext,
  { lease }: BackupSession,
  { manifest }: SealedManifest,
  { signal }: CallOptions,
): Promise<void> {
  try {
    await lease.expectNotFenced({ signal })
  } catch (error) {
    if (lease.lost.aborted) await context.store.delete(manifestKey(manifest), { signal: AbortSignal.timeout(60_000) })
    throw error
  }
}
