import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import { protocolTimes } from '../protocol-times.ts'
import type { ChunkIndex } from './chunk-index.ts'
import type { Exclusions } from './exclusions.ts'
import { loadIndex, type LoadIndexOptions } from './load-index.ts'

export interface IndexOptions extends CallOptions {
  /** By the store's clock. */
  readonly storeNow: Date
}

interface LoadedIndex {
  readonly loading: Promise<ChunkIndex>
  readonly atMs: number
  /** By the store's clock. */
  readonly storeAt: Date
}

/**
 * The index of an open repository, loaded when it is first needed, and again after `ProtocolTimes.indexLastsMs`: condemned
 * lists stay longer than that after their packs are gone, so that no index takes those for targets.
 */
export class IndexHolder implements Disposable {
  readonly #options: Omit<LoadIndexOptions, 'signal'>
  readonly #exclusions: Exclusions
  readonly #nowMs: () => number
  readonly #closed = new AbortController()
  #loaded: LoadedIndex | undefined

  constructor(options: Omit<LoadIndexOptions, 'signal'>, exclusions: Exclusions, nowMs: () => number) {
    this.#options = options
    this.#exclusions = exclusions
    this.#nowMs = nowMs
  }

  /** Rejects with `storage.*`, `repository.*`, or the signal's reason: loading goes on then for who asks next. */
  async get({ signal, storeNow }: IndexOptions): Promise<ChunkIndex> {
    signal.throwIfAborted()
    const known = this.#loaded
    const { loading } = known !== undefined && this.#isFresh(known, storeNow) ? known : this.#load(storeNow)
    const index = await untilAborted(loading, signal)
    await this.#exclusions.dropFrom(index, { signal })
    return index
  }

  [Symbol.dispose](): void {
    this.#closed.abort(new Error('the repository was closed'))
  }

  /** Our clock may have stood still while this process did: the store's has not. */
  #isFresh({ atMs, storeAt }: LoadedIndex, storeNow: Date): boolean {
    const ages = [this.#nowMs() - atMs, Math.abs(storeNow.getTime() - storeAt.getTime())]
    return ages.every((ageMs) => ageMs < protocolTimes.indexLastsMs)
  }

  #load(storeNow: Date): LoadedIndex {
    const loading = loadIndex({ ...this.#options, signal: this.#closed.signal })
    const begun = { loading, atMs: this.#nowMs(), storeAt: storeNow }
    this.#loaded = begun
    begun.loading.catch(() => {
      if (this.#loaded === begun) this.#loaded = undefined
    })
    return begun
  }
}
