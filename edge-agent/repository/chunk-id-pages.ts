import { blake3 } from '@napi-rs/blake-hash'
import { CHUNK_ID_BYTES, type ChunkIds } from '../mover/chunk-ids.ts'

/** Ids in one page; the last page of a disk may hold fewer. */
export const PAGE_IDS = 1024
const PAGE_BYTES = PAGE_IDS * CHUNK_ID_BYTES

/** A run of chunk ids under the name of its content. */
export interface ChunkIdPage {
  /** BLAKE3-256 of the bytes, hexadecimal. */
  readonly hash: string
  /** A copy: the ids may change afterwards. */
  readonly bytes: Uint8Array
}

/** The ids of one disk cut into pages, in disk order. FORMAT.md, "Pages". */
export function* pagesOf(chunkIds: ChunkIds): Generator<ChunkIdPage> {
  for (let start = 0; start < chunkIds.bytes.length; start += PAGE_BYTES) {
    const bytes = chunkIds.bytes.slice(start, start + PAGE_BYTES)
    yield { hash: pageHash(bytes), bytes }
  }
}

/** Bytes that page `index` of a disk with these ids has. */
export function pageLengthBytes(chunkIds: ChunkIds, index: number): number {
  return Math.min(PAGE_BYTES, chunkIds.bytes.length - index * PAGE_BYTES)
}

export function pageCount(chunkIds: ChunkIds): number {
  return Math.ceil(chunkIds.bytes.length / PAGE_BYTES)
}

/** Whether `bytes` are the page that has this name. */
export function isPage(bytes: Uint8Array, hash: string): boolean {
  return pageHash(bytes) === hash
}

function pageHash(bytes: Uint8Array): string {
  return blake3(bytes).toString('hex')
}

/** Copies a page to its place in the ids. The length must be `pageLengthBytes`. */
export function placePage(chunkIds: ChunkIds, index: number, bytes: Uint8Array): void {
  chunkIds.bytes.set(bytes, index * PAGE_BYTES)
}
