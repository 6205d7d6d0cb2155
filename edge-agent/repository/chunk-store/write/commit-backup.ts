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
  readonly manifestOf: (sealedAt: Date) => RestorePointManifest
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
  const { packs } = await resolveLasting(parts, { signal })
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
  const sealed = await putManifest(context, manifestOf(context.clock.now()), { signal: inTime, generation })
  await expectStillHeld(context, session, sealed, { signal })
  context.crashPoint('manifest-durable')
  await remember(context, session.packs)
  return sealed
}

/** The restore point exists by now; what the catalogue does not hear it finds in the store. */
async function remember({ catalogue, logger }: ChunkContext, packs: readonly CataloguedPack[]): Promise<void> {
  try {
    await catalogue.put(packs, { signal: AbortSignal.timeout(CATALOGUE_TIMEOUT_MS) })
  } catch (error) {
    logger?.warn({ err: error }, 'the catalogue does not know the new packs yet')
  }
}

/** The packs, once none of them is about to be deleted. */
async function resolveLasting(parts: CommitParts, { signal }: CallOptions): Promise<Resolution> {
  const { context, session, disks, pages } = parts
  for (let round = 0; ; round += 1) {
    await context.dropExcluded(session.index, { signal })
    const resolution = await resolvePacks(session, disks, pages, { signal })
    if (resolution.condemned.length === 0 || round === ROUNDS_MAX) return resolution
    await copyForward(context, session, resolution.condemned, { signal })
  }
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
