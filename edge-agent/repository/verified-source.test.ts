import { expect, test } from 'vitest'
import { describeBlockSource } from '../block/block-source.conformance.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { ChunkHash } from '../mover/chunk-hash.ts'
import { ChunkIds } from '../mover/chunk-ids.ts'
import { verifiedSource } from './verified-source.ts'

const SIZE_BYTES = 300_000
const CHUNK_BYTES = 65_536
const signal = AbortSignal.timeout(60_000)
const idKey = new Uint8Array(32).fill(7)

/** Data in the first two chunks and the short last one, zeros between. */
function makeDisk() {
  const content = Uint8Array.from({ length: SIZE_BYTES }, (_, at) =>
    at < 100_000 || at > 290_000 ? 1 + (at % 250) : 0,
  )
  const chunkIds = new ChunkIds(SIZE_BYTES, CHUNK_BYTES)
  const hash = new ChunkHash(idKey)
  for (let index = 0; index < chunkIds.count; index += 1) {
    chunkIds.set(index, hash.idOf(content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)))
  }
  const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES, content })
  return { content, disk, source: verifiedSource(disk, { chunkIds, idKey }) }
}

describeBlockSource('verified, over memory', async () => makeDisk())

test('no byte of a damaged chunk is given out, and chunks beside it are', async () => {
  const { disk, source, content } = makeDisk()
  disk.bytes[70_000] = 0
  const into = new Uint8Array(10)
  const damaged = { code: 'repository.chunk_corrupt', details: { offsetBytes: CHUNK_BYTES } }
  for (const offsetBytes of [CHUNK_BYTES - 5, CHUNK_BYTES, 2 * CHUNK_BYTES - 1]) {
    await expect(source.read(offsetBytes, into, { signal })).rejects.toMatchObject(damaged)
    expect(into).toEqual(new Uint8Array(10))
  }
  await source.read(CHUNK_BYTES - 10, into, { signal })
  expect(into).toEqual(content.subarray(CHUNK_BYTES - 10, CHUNK_BYTES))
})

test('data that became zeros is damage too, and is never called a hole', async () => {
  const { disk, source } = makeDisk()
  disk.bytes.fill(0)
  await expect(source.read(0, new Uint8Array(10), { signal })).rejects.toMatchObject({
    code: 'repository.chunk_corrupt',
  })
  const extents = await Array.fromAsync(source.extents({ offsetBytes: 0, lengthBytes: SIZE_BYTES }, { signal }))
  expect(extents.map(({ lengthBytes, zero }) => [lengthBytes, zero])).toEqual([
    [2 * CHUNK_BYTES, false],
    [2 * CHUNK_BYTES, true],
    [SIZE_BYTES - 4 * CHUNK_BYTES, false],
  ])
})
