import { setImmediate as nextTurn } from 'node:timers/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import { CHUNK_ID_BYTES } from '../../../mover/chunk-ids.ts'
import type { BackupWriterDisk } from '../../repository.ts'
import type { PackPlace } from '../format/object-keys.ts'
import { type ChunkKind, chunkKinds } from '../format/registered-ids.ts'
import { ChunkTable } from '../index/chunk-table.ts'
import type { BackupSession } from './backup-session.ts'

const CHUNKS_A_TURN = 65_536

/** A chunk of the restore point whose pack is about to be deleted. */
export interface CondemnedChunk {
  readonly id: Uint8Array
  readonly kind: ChunkKind
  readonly pack: PackPlace
}

/** A pack of the restore point, and how much of it the restore point needs. */
export interface ResolvedPack extends PackPlace {
  readonly lockedUntil?: Date
  /** How much of its chunks the restore point needs, 0 to 1, taking them to be of one size. */
  readonly liveShare: number
}

/** One of them while it is counted. */
interface CountedPack extends PackPlace {
  readonly lockedUntil?: Date
  readonly chunkCount: number
  liveCount: number
}

export interface Resolution {
  readonly packs: ReadonlyMap<string, ResolvedPack>
  readonly condemned: readonly CondemnedChunk[]
}

/**
 * The packs that hold the chunks of all disks, and their pages.
 * Rejects with `repository.io_failed`, naming disk and offset, where a chunk is in no durable pack: it was never stored.
 */
export async function resolvePacks(
  session: BackupSession,
  disks: ReadonlyMap<string, BackupWriterDisk>,
  pages: ReadonlyMap<string, readonly Uint8Array[]>,
  { signal }: CallOptions,
): Promise<Resolution> {
  const chunkCount = [...disks.values()].reduce((sum, { chunkIds }) => sum + chunkIds.count, 0)
  const pageCount = [...pages.values()].reduce((sum, ids) => sum + ids.length, 0)
  const resolver = new PackResolver(session, chunkCount + pageCount)
  for (const [diskId, { chunkIds }] of disks) {
    for (let index = 0; index < chunkIds.count; index += 1) {
      if (index % CHUNKS_A_TURN === CHUNKS_A_TURN - 1) await nextTurn(undefined, { signal })
      if (chunkIds.isZero(index)) continue
      const id = chunkIds.bytes.subarray(index * CHUNK_ID_BYTES, (index + 1) * CHUNK_ID_BYTES)
      if (!resolver.resolve(id, chunkKinds.data)) {
        throw neverStored(`the chunk at byte ${index * chunkIds.chunkSizeBytes} of disk ${diskId}`)
      }
    }
    for (const id of pages.get(diskId) ?? []) {
      const isZero = id.every((byte) => byte === 0)
      if (!isZero && !resolver.resolve(id, chunkKinds.chunkIdPage)) throw neverStored(`a page of disk ${diskId}`)
    }
  }
  return resolver.resolution()
}

class PackResolver {
  readonly #packs = new Map<string, CountedPack>()
  readonly #seen: ChunkTable
  readonly condemned: CondemnedChunk[] = []
  readonly #session: BackupSession

  constructor(session: BackupSession, chunkCount: number) {
    this.#session = session
    this.#seen = new ChunkTable(chunkCount)
  }

  resolution(): Resolution {
    const packs = [...this.#packs.values()].map(({ liveCount, chunkCount, ...pack }) => {
      return [pack.packId, { ...pack, liveShare: liveCount / chunkCount }] as const
    })
    return { packs: new Map(packs), condemned: this.condemned }
  }

  /**
   * Whether some pack holds the chunk. What the parent has stays, also where it is no target any more because it was found
   * corrupt: it is not lost by that. What is condemned goes as soon as the parent does.
   */
  resolve(id: Uint8Array, kind: ChunkKind): boolean {
    if (this.#seen.get(id) !== undefined) return true
    this.#seen.set(id, 0)
    const { index, parentLookup, leaving } = this.#session
    const target = index.packOf(id)
    if (target !== undefined) {
      this.#note(target)
      return true
    }
    const inherited = parentLookup?.find(id, kind)
    const parentPack = inherited === undefined ? undefined : parentLookup?.packs[inherited.pack]
    const isLeaving =
      parentPack !== undefined && (leaving.has(parentPack.packId) || index.isCondemned(parentPack.packId))
    if (parentPack !== undefined && !isLeaving) {
      this.#note({ ...parentPack, chunkCount: parentPack.directory.count })
      return true
    }
    const last = parentPack ?? index.lastPackOf(id)
    if (last === undefined) return false
    this.condemned.push({ id: Uint8Array.from(id), kind, pack: last })
    return true
  }

  #note({ packId, generation, chunkCount, lockedUntil }: PackPlace & Omit<CountedPack, 'liveCount'>): void {
    const known = this.#packs.get(packId)
    const lock = lockedUntil === undefined ? {} : { lockedUntil }
    if (known === undefined) this.#packs.set(packId, { packId, generation, chunkCount, liveCount: 1, ...lock })
    else known.liveCount += 1
  }
}

function neverStored(what: string): PlatformError {
  return new PlatformError('repository.io_failed', `${what} was not stored: the backup has to be run again`)
}
