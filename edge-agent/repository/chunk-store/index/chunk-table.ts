import assert from 'node:assert/strict'
import { CHUNK_ID_BYTES } from '../../../mover/chunk-ids.ts'

const ID_WORDS = CHUNK_ID_BYTES / 4
const SLOT_BYTES = CHUNK_ID_BYTES + 4
const SLOTS_MIN = 1024
/** Fuller than that probing gets slow. */
const LOAD_MAX = 0.7

/**
 * Numbers by chunk id, in shared memory: an open-addressing hash table that one thread writes and any thread reads
 * without locks. An id that was set stays; its number may change. Ids are hashes already: their first word is the slot.
 */
export class ChunkTable {
  readonly memory: SharedArrayBuffer
  readonly #slots: number
  readonly #ids: Uint32Array
  /** Of each slot: 0 for none, or the number above by one. Written after the id. */
  readonly #numbers: Uint32Array
  #count = 0

  /** @param memory of another thread's table, which that one writes; a number: room for so many ids, to write here */
  constructor(memory: SharedArrayBuffer | number) {
    this.memory = typeof memory === 'number' ? new SharedArrayBuffer(slotsFor(memory) * SLOT_BYTES) : memory
    this.#slots = this.memory.byteLength / SLOT_BYTES
    assert(this.#slots >= SLOTS_MIN && Number.isInteger(Math.log2(this.#slots)), 'memory of a chunk table')
    this.#ids = new Uint32Array(this.memory, 0, this.#slots * ID_WORDS)
    this.#numbers = new Uint32Array(this.memory, this.#slots * CHUNK_ID_BYTES, this.#slots)
  }

  /** Ids that were set here: only the writer knows. */
  get count(): number {
    return this.#count
  }

  /** Whether another id may slow it down: time to move to a larger one. */
  get isFull(): boolean {
    return this.#count >= this.#slots * LOAD_MAX
  }

  /** Undefined where the id was never set. */
  get(id: Uint8Array): number | undefined {
    const words = wordsOf(id)
    const slot = this.#slotOf(words)
    const found = Atomics.load(this.#numbers, slot)
    // The slot that was empty may have been taken by another id since.
    return found === 0 || !this.#isAt(slot, words) ? undefined : found - 1
  }

  /** @param number below 2^32 - 1 */
  set(id: Uint8Array, number: number): void {
    this.#set(wordsOf(id), number)
  }

  /** Puts all that `other` holds in here. */
  copyFrom(other: ChunkTable): void {
    for (let slot = 0; slot < other.#slots; slot += 1) {
      const number = other.#numbers[slot] ?? 0
      if (number !== 0) this.#set(other.#ids.subarray(slot * ID_WORDS, (slot + 1) * ID_WORDS), number - 1)
    }
  }

  #set(words: Uint32Array, number: number): void {
    const slot = this.#slotOf(words)
    if (Atomics.load(this.#numbers, slot) === 0) {
      assert(this.#count < this.#slots - 1, 'a table is exchanged before it is full')
      this.#ids.set(words, slot * ID_WORDS)
      this.#count += 1
    }
    Atomics.store(this.#numbers, slot, number + 1)
  }

  /** Where the id is, or the empty slot where it would be. */
  #slotOf(words: Uint32Array): number {
    for (let slot = (words[0] ?? 0) & (this.#slots - 1); ; slot = (slot + 1) & (this.#slots - 1)) {
      if (Atomics.load(this.#numbers, slot) === 0 || this.#isAt(slot, words)) return slot
    }
  }

  #isAt(slot: number, words: Uint32Array): boolean {
    const at = slot * ID_WORDS
    let word = 0
    while (word < ID_WORDS && this.#ids[at + word] === words[word]) word += 1
    return word === ID_WORDS
  }
}

function slotsFor(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(SLOTS_MIN, (count + 1) / LOAD_MAX)))
}

const aligned = new Uint32Array(ID_WORDS)
const alignedBytes = new Uint8Array(aligned.buffer)

/** The id as words; valid until the next call where it is not aligned. */
function wordsOf(id: Uint8Array): Uint32Array {
  assert.equal(id.length, CHUNK_ID_BYTES)
  alignedBytes.set(id)
  return aligned
}
