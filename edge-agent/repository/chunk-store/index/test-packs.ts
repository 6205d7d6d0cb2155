import { blake3 } from '@napi-rs/blake-hash'
import { packSizeBytesOf } from '../format/index-delta.ts'
import { PackDirectory, writeDirectoryEntry } from '../format/pack-directory.ts'
import { DIRECTORY_ENTRY_BYTES } from '../format/pack-footer.ts'
import type { CataloguedPack } from './pack-catalogue.ts'

const PLAIN_BYTES = 100
const RECORD_BYTES = 116

/** For tests: a chunk id that is the same for the same number. */
export function testChunkId(number: number): Uint8Array {
  return Uint8Array.from(blake3(String(number)))
}

/** For tests: what a catalogue says of a pack of these chunks, which is nowhere. */
export function testPack(number: number, chunks: readonly number[], generation = 1): CataloguedPack {
  const entries = Buffer.alloc(chunks.length * DIRECTORY_ENTRY_BYTES)
  for (const [ordinal, chunk] of chunks.entries()) {
    const offsetBytes = ordinal * RECORD_BYTES
    const place = { offsetBytes, storedBytes: RECORD_BYTES, plainBytes: PLAIN_BYTES, compression: 0, kind: 0 } as const
    writeDirectoryEntry(testChunkId(chunk), place, entries.subarray(ordinal * DIRECTORY_ENTRY_BYTES))
  }
  const directory = new PackDirectory(entries)
  const packId = number.toString(16).padStart(40, '0')
  return { packId, generation, epoch: 8, sizeBytes: packSizeBytesOf(directory), directory }
}
