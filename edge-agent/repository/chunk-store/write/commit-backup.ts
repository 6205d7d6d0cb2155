import type { CallOptions } from '../../../block/block-source.ts'
import type { BackupWriterDisk } from '../../repository.ts'
import type { RestorePointManifest, SealedManifest } from '../../restore-point-manifest.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { encodeIndexDelta, indexedPackBytes } from '../format/index-delta.ts'
import { indexDeltaKey, manifestKey, type PackPlace, packSetKey } from '../format/object-keys.ts'
import { encodePackSet, type PackSet } from '../format/pack-set.ts'
import type { CataloguedPack } from '../index/pack-catalogue.ts'
import { putManifest } from '../manifest-objects.ts'
import { protocolTimes } from '../protocol-times.ts'
import type { BackupSession } from './backup-session.ts'
import { copyForward } from './copy-forward.ts'
import { protectPacks } from './protect-packs.ts'
import { protectionOf } from './protection.ts'
import { putProtected } from './put-protected.ts'
import { resolvePacks } from './resolve-packs.ts'
import { sealInOrder, type SealSteps } from './seal-in-order.ts'

/** Directories in one index object. */
const INDEX_BYTES_MAX = 64 * 1024 * 1024
const CATALOGUE_TIMEOUT_MS = 30_000
const TAKE_BACK_TIMEOUT_MS = 60_000

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
  const { context, session, disks, pages, manifestOf } = parts
  const { lease, packSettings, backup } = session
  const { generation } = packSettings
  // Facts that are wrong are refused before anything is written.
  const place = manifestOf(context.clock.now())
  let packs: readonly PackPlace[] = []
  let protectedUntil: Date | undefined
  const steps: SealSteps<SealedManifest> = {
    copyForward: async (call) => {
      await context.dropExcluded(session.index, call)
      const resolution = await resolvePacks(session, disks, pages, call)
      packs = [...resolution.packs.values()]
      if (resolution.condemned.length > 0) {
        await copyForward(context, session, resolution.condemned, call)
        return true
      }
      const kept = await protectPacks(context, session, resolution, call)
      if (kept === 'leaving') return true
      protectedUntil = kept
      return false
    },
    putPackSet: async (call) => {
      context.crashPoint('packs-durable')
      await putIndex(context, session.packs, generation, call)
      context.crashPoint('index-durable')
      await putPackSet(
        context,
        { vmId: backup.vmId, restorePointId: backup.restorePointId, revision: 0, packs },
        generation,
        call,
      )
      context.crashPoint('set-durable')
    },
    putManifest: async (call) =>
      await putManifest(context, manifestOf(context.clock.now(), protectedUntil), { signal: call.signal, generation }),
    takeBack: async () => {
      await context.store.delete(manifestKey(place), { signal: AbortSignal.timeout(TAKE_BACK_TIMEOUT_MS) })
    },
  }
  const sealed = await sealInOrder(steps, { lease, sealMs: protocolTimes.sealMs, signal })
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

async function putPackSet(
  context: ChunkContext,
  set: PackSet,
  generation: number,
  { signal }: CallOptions,
): Promise<void> {
  const protection = protectionOf(context.settings, generation)
  await putProtected(context.store, packSetKey(set), encodePackSet(set, context), { signal, protection })
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
