import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { CallOptions } from '../../../block/block-source.ts'
import { ChunkHash } from '../../../mover/chunk-hash.ts'
import { pagesOf } from '../../chunk-id-pages.ts'
import { newManifest, type StoredDisk } from '../../new-manifest.ts'
import { withRepositoryErrors } from '../../repository-errors.ts'
import type { BackupWriter, BackupWriterDisk, SealFacts } from '../../repository.ts'
import type { SealedManifest } from '../../restore-point-manifest.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { chunkKinds } from '../format/registered-ids.ts'
import type { BackupSession } from './backup-session.ts'
import { commitBackup } from './commit-backup.ts'

const PAGES_A_TURN = 64

export interface ChunkBackupWriterParts {
  readonly context: ChunkContext
  readonly session: BackupSession
  readonly disks: ReadonlyMap<string, BackupWriterDisk>
  /** The session, its lease and the disks. */
  readonly owned: AsyncDisposableStack
}

/** A restore point in the making, in a chunk repository. */
export class ChunkBackupWriter implements BackupWriter {
  readonly disks: ReadonlyMap<string, BackupWriterDisk>
  readonly #parts: ChunkBackupWriterParts
  #state: 'open' | 'sealing' | 'disposed' = 'open'

  constructor(parts: ChunkBackupWriterParts) {
    this.#parts = parts
    this.disks = parts.disks
  }

  async seal(facts: SealFacts, options: CallOptions): Promise<SealedManifest> {
    assert.equal(this.#state, 'open', 'a restore point is sealed once')
    this.#state = 'sealing'
    options.signal.throwIfAborted()
    return await withRepositoryErrors('sealing the restore point', async () => await this.#seal(facts, options))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'disposed') return
    this.#state = 'disposed'
    await this.#parts.owned[Symbol.asyncDispose]()
  }

  async #seal(facts: SealFacts, { signal }: CallOptions): Promise<SealedManifest> {
    const { context, session } = this.#parts
    const held = AbortSignal.any([signal, session.lease.lost])
    // What was written in this thread; other threads have flushed before the mover said that it is done.
    for (const { sink } of this.disks.values()) await sink.flush({ signal: held })
    const pages = await this.#putPages({ signal: held })
    const manifestOf = (sealedAt: Date, protectedUntil?: Date) =>
      newManifest({
        repositoryId: context.descriptor.repositoryId,
        chunkSizeBytes: context.descriptor.chunkSizeBytes,
        backup: session.backup,
        parent: session.parent,
        facts,
        stored: this.#storedDisks(pages),
        sealedAt,
        ...(protectedUntil === undefined ? {} : { protectedUntil }),
      })
    return await commitBackup({ context, session, disks: this.disks, pages, manifestOf }, { signal: held })
  }

  /** Stores the pages of all disks that are not kept already. @returns their ids, zeros for a page of zeros */
  async #putPages({ signal }: CallOptions): Promise<ReadonlyMap<string, readonly Uint8Array[]>> {
    const { context, session } = this.#parts
    const hash = new ChunkHash(context.keys.idKey)
    const all = new Map<string, readonly Uint8Array[]>()
    for (const [diskId, { chunkIds }] of this.disks) {
      await using writer = session.newPackWriter(diskId)
      const ids: Uint8Array[] = []
      for (const { bytes } of pagesOf(chunkIds)) {
        if (ids.length % PAGES_A_TURN === PAGES_A_TURN - 1) await nextTurn(undefined, { signal })
        const id = hash.idOf(bytes)
        ids.push(id)
        if (id.some((byte) => byte !== 0)) await writer.put(id, chunkKinds.chunkIdPage, [bytes], { signal })
      }
      await writer.flush({ signal })
      all.set(diskId, ids)
    }
    return all
  }

  #storedDisks(pages: ReadonlyMap<string, readonly Uint8Array[]>): ReadonlyMap<string, StoredDisk> {
    const { session } = this.#parts
    const stored = new Map<string, StoredDisk>()
    for (const [diskId, ids] of pages) {
      const names = ids.map((id) => Buffer.from(id).toString('hex'))
      stored.set(diskId, { pages: names, storedBytes: session.storedBytes(diskId) })
    }
    return stored
  }
}
