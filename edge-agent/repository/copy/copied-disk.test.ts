import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { describeBlockSource, type OpenedSource } from '../../block/block-source.conformance.ts'
import type { BlockSource } from '../../block/block-source.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { chunkIdsOf } from '../../mover/testing/chunk-ids-of.ts'
import { call } from '../scenario-guest.ts'
import { checkedDisk } from './copied-disk.ts'
import { wholeChunkSource } from './whole-chunk-source.ts'

const CHUNK_BYTES = 16 * 1024
const DISK_BYTES = 20 * CHUNK_BYTES + 512
const idKey = randomBytes(32)
const place = {
  repositoryId: '11111111-1111-4111-8111-111111111111',
  restorePointId: '22222222-2222-4222-8222-222222222222',
  diskId: 'disk0',
}

/** Zeros in chunks 3 to 5, noise elsewhere. */
function makeContent(): Uint8Array {
  const content = Uint8Array.from(randomBytes(DISK_BYTES))
  content.fill(0, 3 * CHUNK_BYTES, 6 * CHUNK_BYTES)
  return content
}

function openChecked(): OpenedSource {
  const content = makeContent()
  const before = content.slice()
  // Chunk 1 was other bytes, 4 was no zeros, 8 was zeros, the short last one was other bytes.
  before[CHUNK_BYTES] = (before[CHUNK_BYTES] ?? 0) ^ 1
  before.fill(7, 4 * CHUNK_BYTES, 5 * CHUNK_BYTES)
  before.fill(0, 8 * CHUNK_BYTES, 9 * CHUNK_BYTES)
  before.fill(1, 20 * CHUNK_BYTES)
  const source = createMemoryDisk({ sizeBytes: content.length, content })
  const dirty = [1, 4, 8].map((index) => ({ offsetBytes: index * CHUNK_BYTES, lengthBytes: CHUNK_BYTES }))
  return {
    source: checkedDisk({
      source,
      place,
      chunkIds: chunkIdsOf(content, { chunkSizeBytes: CHUNK_BYTES, idKey }),
      baseIds: chunkIdsOf(before, { chunkSizeBytes: CHUNK_BYTES, idKey }),
      idKey,
    }),
    content,
    dirty: [...dirty, { offsetBytes: 20 * CHUNK_BYTES, lengthBytes: 512 }],
  }
}

describeBlockSource('a disk that is copied, with a base', async () => openChecked())
describeBlockSource('a disk that is asked for whole chunks', async () => {
  const content = makeContent()
  const source = wholeChunkSource(createMemoryDisk({ sizeBytes: content.length, content }), CHUNK_BYTES)
  return { source, content }
})

/** What the disk below was asked for. */
function watched(content: Uint8Array): { readonly disk: BlockSource; readonly reads: [number, number][] } {
  const reads: [number, number][] = []
  const disk = createMemoryDisk({ sizeBytes: content.length, content })
  const read: BlockSource['read'] = async (offsetBytes, into, options) => {
    reads.push([offsetBytes, into.length])
    await disk.read(offsetBytes, into, options)
  }
  const extents: BlockSource['extents'] = (range, options) => disk.extents(range, options)
  return { disk: { sizeBytes: disk.sizeBytes, extents, read, [Symbol.asyncDispose]: async () => undefined }, reads }
}

describe('a disk that is asked for whole chunks', () => {
  test('a chunk of which parts are read, one after the other or at once, is read once', async () => {
    const content = makeContent()
    const { disk, reads } = watched(content)
    await using source = wholeChunkSource(disk, CHUNK_BYTES)
    const into = new Uint8Array(content.length)
    const part = CHUNK_BYTES / 4
    for (let at = 0; at < content.length; at += 2 * part) {
      const parts = [at, at + part].filter((offset) => offset < content.length)
      await Promise.all(
        parts.map(async (offset) => await source.read(offset, into.subarray(offset, offset + part), call())),
      )
    }
    expect(Buffer.compare(into, content)).toBe(0)
    expect(reads).toHaveLength(21)
  })

  test('whole chunks are read where they go, together', async () => {
    const content = makeContent()
    const { disk, reads } = watched(content)
    await using source = wholeChunkSource(disk, CHUNK_BYTES)
    const into = new Uint8Array(4 * CHUNK_BYTES)
    await source.read(CHUNK_BYTES / 2, into, call())
    expect(reads).toEqual([
      [0, CHUNK_BYTES],
      [CHUNK_BYTES, 3 * CHUNK_BYTES],
      [4 * CHUNK_BYTES, CHUNK_BYTES],
    ])
    expect(Buffer.compare(into, content.subarray(CHUNK_BYTES / 2, CHUNK_BYTES / 2 + into.length))).toBe(0)
  })

  test('a chunk that could not be read is asked for again', async () => {
    const content = makeContent()
    const { disk } = watched(content)
    let fails = true
    const failing: BlockSource = {
      ...disk,
      read: async (...asked) => (fails ? await Promise.reject(new Error('no')) : await disk.read(...asked)),
    }
    await using source = wholeChunkSource(failing, CHUNK_BYTES)
    const into = new Uint8Array(100)
    await expect(source.read(50, into, call())).rejects.toThrow('no')
    fails = false
    await source.read(50, into, call())
    expect(Buffer.compare(into, content.subarray(50, 150))).toBe(0)
  })
})

test('a damaged chunk is refused with disk, range and place, whatever part of it is read; its neighbours are read', async () => {
  const content = makeContent()
  const chunkIds = chunkIdsOf(content, { chunkSizeBytes: CHUNK_BYTES, idKey })
  const damaged = content.slice()
  const at = 9 * CHUNK_BYTES
  damaged[at + 100] = (damaged[at + 100] ?? 0) ^ 1
  const source = createMemoryDisk({ sizeBytes: damaged.length, content: damaged })
  await using disk = checkedDisk({ source, place, chunkIds, idKey })
  const details = { ...place, offsetBytes: at, lengthBytes: CHUNK_BYTES }
  for (const [offsetBytes, lengthBytes] of [
    [at, CHUNK_BYTES],
    [at + 5000, 10],
    [0, DISK_BYTES],
  ] as const) {
    const reading = disk.read(offsetBytes, new Uint8Array(lengthBytes), call())
    await expect(reading).rejects.toMatchObject({ code: 'repository.chunk_corrupt', details })
  }
  const into = new Uint8Array(CHUNK_BYTES)
  await disk.read(8 * CHUNK_BYTES, into, call())
  expect(Buffer.compare(into, content.subarray(8 * CHUNK_BYTES, at))).toBe(0)
})
