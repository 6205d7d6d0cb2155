import assert from 'node:assert/strict'
import { ChunkTable } from './chunk-table.ts'
import type { CataloguedPack } from './pack-catalogue.ts'

/** Addresses are kept for so many packs (16 TiB and more of them), memory only for those that are there. */
const PACKS_MAX = 2 ** 24
const PACKS_MIN = 4096

/** Number 0 is no pack: chunks that were dropped by themselves have it. */
const NO_PACK = { packId: '', generation: -1, epoch: 0, sizeBytes: 0, chunkCount: 0 }

/** A pack as the index keeps it: without its directory. */
export interface IndexedPackFacts extends Omit<CataloguedPack, 'directory'> {
  /** Pages included. */
  readonly chunkCount: number
}

/** What threads need to ask an index; the memory is the index's own and goes on changing. */
export interface SharedIndex {
  readonly table: SharedArrayBuffer
  readonly usable: SharedArrayBuffer
}

/** Whether a chunk is kept, durably and for good, as far as this thread can see: for deduplication. */
export class IndexView {
  readonly #table: ChunkTable
  readonly #usable: Uint8Array

  constructor({ table, usable }: SharedIndex) {
    this.#table = new ChunkTable(table)
    this.#usable = new Uint8Array(usable)
  }

  has(id: Uint8Array): boolean {
    const number = this.#table.get(id)
    return number !== undefined && Atomics.load(this.#usable, number) === 1
  }
}

/**
 * Which pack holds which chunk, of one repository. Only packs that are durable are added; those that were condemned or
 * quarantined are dropped and are no targets of deduplication any more. One thread changes it, all may ask.
 */
export class ChunkIndex {
  #table: ChunkTable
  readonly #usableMemory: SharedArrayBuffer
  readonly #usable: Uint8Array
  readonly #packs: IndexedPackFacts[] = []
  readonly #numbers = new Map<string, number>()
  readonly #condemned = new Set<string>()

  /** @param chunkCount how many to expect */
  constructor(chunkCount = 0) {
    this.#table = new ChunkTable(chunkCount)
    this.#packs.push(NO_PACK)
    this.#usableMemory = new SharedArrayBuffer(PACKS_MIN, { maxByteLength: PACKS_MAX })
    this.#usable = new Uint8Array(this.#usableMemory)
  }

  get chunkCount(): number {
    return this.#table.count
  }

  /** Packs that are targets. */
  packs(): IndexedPackFacts[] {
    return this.#packs.filter((_, number) => this.#usable[number] === 1)
  }

  /** Makes a durable pack a target. Of two packs with the same chunk the one of the later generation is taken. */
  add({ directory, ...facts }: CataloguedPack): void {
    if (this.#numbers.has(facts.packId)) return
    const number = this.#packs.push({ ...facts, chunkCount: directory.count }) - 1
    this.#numbers.set(facts.packId, number)
    this.#makeRoom(number)
    for (let ordinal = 0; ordinal < directory.count; ordinal += 1) {
      const id = directory.idAt(ordinal)
      const known = this.packOf(id)
      if (known !== undefined && known.generation >= facts.generation) continue
      if (this.#table.isFull) this.#enlarge()
      this.#table.set(id, number)
    }
    Atomics.store(this.#usable, number, 1)
  }

  /** As `drop`, and for good: it is to be deleted. */
  condemn(packId: string): void {
    this.#condemned.add(packId)
    this.drop(packId)
  }

  isCondemned(packId: string): boolean {
    return this.#condemned.has(packId)
  }

  /** The pack is no target any more. What only it holds is stored again when it comes. */
  drop(packId: string): void {
    const number = this.#numbers.get(packId)
    if (number === undefined) return
    Atomics.store(this.#usable, number, 0)
    this.#numbers.delete(packId)
  }

  /** One chunk of a pack is no target any more. */
  dropChunk(packId: string, id: Uint8Array): void {
    const number = this.#numbers.get(packId)
    if (number !== undefined && this.#table.get(id) === number) this.#table.set(id, 0)
  }

  has(packId: string): boolean {
    return this.#numbers.has(packId)
  }

  /** The store answered with a later date. */
  noteLock(packId: string, lockedUntil: Date): void {
    const number = this.#numbers.get(packId)
    const facts = number === undefined ? undefined : this.#packs[number]
    if (number !== undefined && facts !== undefined) this.#packs[number] = { ...facts, lockedUntil }
  }

  /** The target that holds the chunk; undefined where none does. */
  packOf(id: Uint8Array): IndexedPackFacts | undefined {
    const number = this.#table.get(id)
    return number === undefined || this.#usable[number] !== 1 ? undefined : this.#packs[number]
  }

  /** The pack that was last known to hold the chunk, target or not. */
  lastPackOf(id: Uint8Array): IndexedPackFacts | undefined {
    const number = this.#table.get(id)
    return number === undefined || number === 0 ? undefined : this.#packs[number]
  }

  /** For another thread. It does not see chunks that come after the table had to be exchanged for a larger one: harmless. */
  share(): SharedIndex {
    return { table: this.#table.memory, usable: this.#usableMemory }
  }

  #enlarge(): void {
    const larger = new ChunkTable(this.#table.count * 2)
    larger.copyFrom(this.#table)
    this.#table = larger
  }

  #makeRoom(number: number): void {
    assert(number < PACKS_MAX, 'an index of one repository holds 16 million packs')
    const memory = this.#usableMemory
    if (number >= memory.byteLength) memory.grow(Math.min(PACKS_MAX, memory.byteLength * 2))
  }
}
