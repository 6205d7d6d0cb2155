import assert from 'node:assert/strict'
import type { ChunkPlace } from '../format/pack-directory.ts'
import type { ChunkKind } from '../format/registered-ids.ts'
import { ChunkTable } from '../index/chunk-table.ts'
import type { CataloguedPack } from '../index/pack-catalogue.ts'

export interface FoundChunk extends ChunkPlace {
  /** Number of its pack among those that were given. */
  readonly pack: number
  readonly ordinal: number
}

/** Finds chunks in some packs by their ids. */
export class PackLookup {
  readonly packs: readonly CataloguedPack[]
  /** Entries of all packs before each. */
  readonly #firstEntries: readonly number[]
  readonly #table: ChunkTable

  constructor(packs: readonly CataloguedPack[]) {
    this.packs = packs
    const firstEntries: number[] = []
    let count = 0
    for (const { directory } of packs) {
      firstEntries.push(count)
      count += directory.count
    }
    this.#firstEntries = firstEntries
    this.#table = new ChunkTable(count)
    for (const [pack, { directory }] of packs.entries()) {
      for (let ordinal = 0; ordinal < directory.count; ordinal += 1) {
        this.#table.set(directory.idAt(ordinal), (firstEntries[pack] ?? 0) + ordinal)
      }
    }
  }

  /** Undefined where no pack holds such a chunk. Kinds are told apart: a page is never data. */
  find(id: Uint8Array, kind: ChunkKind): FoundChunk | undefined {
    const entry = this.#table.get(id)
    if (entry === undefined) return undefined
    const pack = this.#packOf(entry)
    const ordinal = entry - (this.#firstEntries[pack] ?? 0)
    const directory = this.packs[pack]?.directory
    assert(directory !== undefined)
    const place = directory.placeAt(ordinal)
    return place.kind === kind ? { pack, ordinal, ...place } : undefined
  }

  /** The last pack that begins at the entry or before. */
  #packOf(entry: number): number {
    let low = 0
    let high = this.#firstEntries.length - 1
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((this.#firstEntries[middle] ?? 0) <= entry) low = middle
      else high = middle - 1
    }
    return low
  }
}
