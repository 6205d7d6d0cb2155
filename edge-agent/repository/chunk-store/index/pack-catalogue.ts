import type { CallOptions } from '../../../block/block-source.ts'
import type { IndexedPack } from '../format/index-delta.ts'

/** What is remembered of one pack of the repository. */
export interface CataloguedPack extends IndexedPack {
  readonly sizeBytes: number
  /** Until when the store itself said that it keeps it. */
  readonly lockedUntil?: Date
}

/**
 * The directories of a repository's packs, beside the repository: a cache that makes opening quick, and may be wrong or
 * lost: what is in the store counts. This contract is executable: pack-catalogue.conformance.ts.
 */
export interface PackCatalogue {
  /** All, in no particular order, some at a time. */
  list(options: CallOptions): AsyncIterable<readonly CataloguedPack[]>
  /** Those of the packs that it knows. */
  find(packIds: readonly string[], options: CallOptions): Promise<readonly CataloguedPack[]>
  /** Adds packs, or takes the place of what was known of them. */
  put(packs: readonly CataloguedPack[], options: CallOptions): Promise<void>
  /** Resolves also where there is none. */
  delete(packIds: readonly string[], options: CallOptions): Promise<void>
}
