import assert from 'node:assert/strict'

/** What memory is handed out in. */
export const SLAB_BYTES = 1024 * 1024

/** A piece of an arena, `SLAB_BYTES` long. */
export interface Slab {
  readonly index: number
  readonly bytes: Uint8Array<SharedArrayBuffer>
}

/** The memory of one run: one slab, or several where a chunk is larger than a slab. Content: whatever was there. */
export class RunBuffer {
  readonly slabs: readonly Slab[]

  constructor(slabs: readonly Slab[]) {
    this.slabs = slabs
  }

  get lengthBytes(): number {
    return this.slabs.length * SLAB_BYTES
  }

  /** Views of [startBytes, startBytes + lengthBytes) in order: one, unless the range lies in several slabs. */
  parts(startBytes: number, lengthBytes: number): Uint8Array[] {
    const endBytes = startBytes + lengthBytes
    assert(startBytes >= 0 && endBytes <= this.lengthBytes, 'a range of the buffer')
    const parts: Uint8Array[] = []
    for (let at = startBytes; at < endBytes;) {
      const inside = at % SLAB_BYTES
      const partBytes = Math.min(SLAB_BYTES - inside, endBytes - at)
      const slab = this.slabs[Math.floor(at / SLAB_BYTES)]
      assert(slab !== undefined)
      parts.push(slab.bytes.subarray(inside, inside + partBytes))
      at += partBytes
    }
    return parts
  }
}

/** How many slabs hold a run of so many bytes. */
export function slabsFor(lengthBytes: number): number {
  return Math.ceil(lengthBytes / SLAB_BYTES)
}
