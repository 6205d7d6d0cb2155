import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ChunkIndex } from './chunk-index.ts'
import type { Exclusions } from './exclusions.ts'
import { loadIndex, type LoadIndexOptions } from './load-index.ts'

/**
 * An index is compared with the store again after this time. A collection leaves its list of condemned packs in place for
 * twice as long after it deleted them, so that nobody takes them for targets.
 */
export const INDEX_LASTS_MS = 24 * 3_600_000

/** The index of an open repository, loaded when it is first needed. */
export class IndexHolder implements Disposable {
  readonly #options: Omit<LoadIndexOptions, 'signal'>
  readonly #exclusions: Exclusions
  readonly #nowMs: () => number
  readonly #closed = new AbortController()
  #loaded: { readonly loading: Promise<ChunkIndex>; readonly atMs: number } | undefined

  constructor(options: Omit<LoadIndexOptions, 'signal'>, exclusions: Exclusions, nowMs: () => number) {
    this.#options = options
    this.#exclusions = exclusions
    this.#nowMs = nowMs
  }

  /** Rejects with `storage.*`, `repository.*`, or the signal's reason: loading goes on then for who asks next. */
  async get({ signal }: CallOptions): Promise<ChunkIndex> {
    signal.throwIfAborted()
    const known = this.#loaded
    const isFresh = known !== undefined && this.#nowMs() - known.atMs < INDEX_LASTS_MS
    const { loading } = isFresh ? known : this.#load()
    const index = await untilAborted(loading, signal)
    await this.#exclusions.dropFrom(index, { signal })
    return index
  }

  [Symbol.dispose](): void {
    this.#closed.abort(new Error('the repository was closed'))
  }

  #load() {
    const begun = { loading: loadIndex({ ...this.#options, signal: this.#closed.signal }), atMs: this.#nowMs() }
    this.#loaded = begun
    begun.loading.catch(() => {
      if (this.#loaded === begun) this.#loaded = undefined
    })
    return begun
  }
}
