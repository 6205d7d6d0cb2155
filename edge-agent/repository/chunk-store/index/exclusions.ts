import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { parseCondemnedList } from '../format/condemned-list.ts'
import type { OpenContext } from '../format/object-context.ts'
import {
  condemnedListKey,
  type PackPlace,
  parseCondemnedListKey,
  parseQuarantineListKey,
  prefixes,
} from '../format/object-keys.ts'
import { parseQuarantineList } from '../format/quarantine-list.ts'
import type { ChunkIndex } from './chunk-index.ts'

/**
 * Keeps an index free of what is no target of deduplication: packs that a collection means to delete, packs and chunks that
 * were found corrupt. Lists are read once.
 */
export class Exclusions {
  readonly #store: ObjectStore
  readonly #context: OpenContext
  readonly #logger: Pick<Logger, 'warn'> | undefined
  /** Of each index, the lists that were applied to it. */
  readonly #applied = new WeakMap<ChunkIndex, Set<string>>()

  constructor(store: ObjectStore, context: OpenContext, logger?: Pick<Logger, 'warn'>) {
    this.#store = store
    this.#context = context
    this.#logger = logger
  }

  /**
   * Drops what was excluded since the last call for this index.
   * Rejects with `storage.*`, and with `repository.*` where a condemned list cannot be read: what it would have named must
   * not be relied on, and so nothing can be sealed.
   */
  async dropFrom(index: ChunkIndex, { signal }: CallOptions): Promise<void> {
    const applied = this.#applied.get(index) ?? new Set()
    this.#applied.set(index, applied)
    for await (const key of this.#newKeys(prefixes.condemnedLists, applied, { signal })) {
      const place = parseCondemnedListKey(key)
      if (place === undefined) continue
      for (const { packId } of await this.#readCondemned(place, { signal })) index.condemn(packId)
      applied.add(key)
    }
    for await (const key of this.#newKeys(prefixes.quarantineLists, applied, { signal })) {
      const place = parseQuarantineListKey(key)
      if (place === undefined) continue
      applied.add(key)
      try {
        const list = parseQuarantineList(await this.#store.get(key, { signal }), place, this.#context)
        for (const { packId } of list.packs) index.drop(packId)
        for (const { packId, chunkId } of list.chunks) index.dropChunk(packId, Buffer.from(chunkId, 'hex'))
      } catch (error) {
        signal.throwIfAborted()
        this.#logger?.warn({ err: error, key }, 'a list of what is corrupt cannot be read')
      }
    }
  }

  /** A list that is only listed still names packs that went long ago. */
  async #readCondemned(place: { readonly runId: string }, { signal }: CallOptions): Promise<readonly PackPlace[]> {
    try {
      const bytes = await this.#store.get(condemnedListKey(place.runId), { signal })
      return parseCondemnedList(bytes, place, this.#context).packs
    } catch (error) {
      if (isPlatformError(error, 'storage.not_found')) return []
      throw error
    }
  }

  async *#newKeys(prefix: string, applied: ReadonlySet<string>, { signal }: CallOptions): AsyncGenerator<string> {
    for await (const page of this.#store.list(prefix, { signal })) {
      for (const { key } of page) if (!applied.has(key)) yield key
    }
  }
}
