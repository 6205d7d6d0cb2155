import { setImmediate as nextTurn } from 'node:timers/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import { CHUNK_ID_BYTES } from '../../../mover/chunk-ids.ts'
import type { BackupWriterDisk } from '../../repository.ts'
import type { PackPlace } from '../format/object-keys.ts'
import { type ChunkKind, chunkKinds } from '../format/registered-ids.ts'
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
  /** Chunks of it that the restore point refers to, each once for each time. */
  references: number
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
  const resolver = new PackResolver(session)
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
  return resolver
}

class PackResolver implements Resolution {
  readonly packs = new Map<string, ResolvedPack>()
  readonly condemned: CondemnedChunk[] = []
  readonly #session: BackupSession

  constructor(session: BackupSession) {
    this.#session = session
  }

  /** Whether some pack holds the chunk. What the parent has stays, also where it is no target any more: it is not lost by that. */
  resolve(id: Uint8Array, kind: ChunkKind): boolean {
    const { index, parentLookup } = this.#session
    const target = index.packOf(id)
    if (target !== undefined) {
      this.#note(target)
      return true
    }
    const inherited = parentLookup?.find(id, kind)
    const parentPack = inherited === undefined ? undefined : parentLookup?.packs[inherited.pack]
    if (parentPack !== undefined) {
      this.#note(parentPack)
      return true
    }
    const last = index.lastPackOf(id)
    if (last === undefined) return false
    this.condemned.push({ id: Uint8Array.from(id), kind, pack: last })
    return true
  }

  #note({ packId, generation }: PackPlace): void {
    const known = this.packs.get(packId)
    if (known === undefined) this.packs.set(packId, { packId, generation, references: 1 })
    else known.references += 1
  }
}

function neverStored(what: string): PlatformError {
  return new PlatformError('repository.io_failed', `${what} was not stored: the backup has to be run again`)
}
