import { describe, expect, test } from 'vitest'
import type { BlockSource } from '../block/block-source.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { ChunkIds } from './chunk-ids.ts'
import { copyBackup } from './copy-backup.ts'
import { copyRestore } from './copy-restore.ts'

const MIB = 1024 * 1024
const CHUNK_BYTES = 256 * 1024
const SIZE_BYTES = 6 * MIB
const idKey = new Uint8Array(32).fill(0x33)
const call = { signal: AbortSignal.timeout(60_000) }

async function makePoint() {
  const content = Buffer.alloc(
    SIZE_BYTES,
    Uint8Array.from({ length: 249 }, (_, at) => at + 1),
  )
  const source = createMemoryDisk({ sizeBytes: SIZE_BYTES, content })
  const point = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  const chunkIds = new ChunkIds(SIZE_BYTES, CHUNK_BYTES)
  await copyBackup({ mode: 'full', source, sink: point, chunkIds, idKey }, call)
  return { point, chunkIds }
}

describe('a restore', () => {
  test('names the first of several damaged chunks, also when a later one is found earlier', async () => {
    const { point, chunkIds } = await makePoint()
    for (const at of [MIB + CHUNK_BYTES, 2 * MIB, 5 * MIB]) point.bytes[at] = 0
    const laterFound = Promise.withResolvers<void>()
    const uneven: BlockSource = {
      sizeBytes: SIZE_BYTES,
      extents: (range, options) => point.extents(range, options),
      read: async (offsetBytes, into, options) => {
        await point.read(offsetBytes, into, options)
        if (offsetBytes >= 2 * MIB) setImmediate(laterFound.resolve)
        if (offsetBytes === MIB) await laterFound.promise
      },
      [Symbol.asyncDispose]: async () => undefined,
    }
    const restoring = copyRestore({ source: uneven, chunkIds, idKey }, call)
    await expect(restoring).rejects.toMatchObject({
      code: 'repository.chunk_corrupt',
      details: { offsetBytes: MIB + CHUNK_BYTES, lengthBytes: CHUNK_BYTES },
    })
  })

  test('data where the id says zeros, and zeros where it says data, are damage', async () => {
    const { point, chunkIds } = await makePoint()
    chunkIds.set(3, new Uint8Array(32))
    const details = { offsetBytes: 3 * CHUNK_BYTES }
    await expect(copyRestore({ source: point, chunkIds, idKey }, call)).rejects.toMatchObject({ details })
    const second = await makePoint()
    await second.point.writeZeroes(2 * CHUNK_BYTES, CHUNK_BYTES, call)
    const lost = copyRestore({ source: second.point, chunkIds: second.chunkIds, idKey }, call)
    await expect(lost).rejects.toMatchObject({ details: { offsetBytes: 2 * CHUNK_BYTES } })
  })

  test('disks of other sizes are refused', async () => {
    const { point, chunkIds } = await makePoint()
    const small = createMemoryDisk({ sizeBytes: SIZE_BYTES - 512 })
    const wrongTarget = copyRestore({ source: point, sink: small, chunkIds, idKey }, call)
    await expect(wrongTarget).rejects.toMatchObject({ code: 'target.disk_size_mismatch' })
    const wrongSource = copyRestore({ source: small, chunkIds, idKey }, call)
    await expect(wrongSource).rejects.toMatchObject({ code: 'repository.manifest_invalid' })
  })

  test('another key does not match', async () => {
    const { point, chunkIds } = await makePoint()
    const otherKey = new Uint8Array(32).fill(1)
    const restoring = copyRestore({ source: point, chunkIds, idKey: otherKey }, call)
    await expect(restoring).rejects.toMatchObject({ code: 'repository.chunk_corrupt', details: { offsetBytes: 0 } })
  })
})
