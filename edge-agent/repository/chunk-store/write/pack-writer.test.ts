import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { createMemoryStore } from '../../../object-store/memory/memory-store.ts'
import { packBufferBytes } from '../format/pack-builder.ts'
import { chunkKinds } from '../format/registered-ids.ts'
import { PackBuffers } from './pack-buffers.ts'
import { PackWriter } from './pack-writer.ts'

const CHUNK_BYTES = 64 * 1024
const PACK_BYTES = 256 * 1024
const call = { signal: AbortSignal.timeout(20_000) }

/** A writer with one buffer besides what others hold, and the packs that became durable. */
function makeWriter(buffers: PackBuffers, known: Set<string>) {
  const durable: number[] = []
  const settings = {
    repositoryId: randomUUID(),
    generation: 1,
    epoch: 1,
    epochKey: randomBytes(32),
    packSizeBytes: PACK_BYTES,
    chunkSizeBytes: CHUNK_BYTES,
    compression: 'balanced',
  } as const
  const writer = new PackWriter({
    store: createMemoryStore(),
    settings,
    buffers,
    isKnown: (id) => known.has(Buffer.from(id).toString('hex')),
    onDurable: async ({ directory }) => void durable.push(directory.count),
    newPackId: () => randomBytes(20).toString('hex'),
    tellSha256: false,
    ended: new AbortController().signal,
  })
  return { writer, durable }
}

test('a pack that was begun for a chunk which others stored meanwhile is filled by the next, and its buffer comes back', async () => {
  const bufferBytes = packBufferBytes(PACK_BYTES, CHUNK_BYTES)
  const buffers = new PackBuffers({ bufferBytes, memoryBytes: bufferBytes })
  const known = new Set<string>()
  const { writer, durable } = makeWriter(buffers, known)
  const put = (id: Uint8Array) => writer.put(id, chunkKinds.data, [randomBytes(CHUNK_BYTES)], call)
  // What is put after a full pack waits until the pack is durable: this writer has no second buffer.
  const full = Array.from({ length: PACK_BYTES / CHUNK_BYTES }, () => put(randomBytes(32)))
  const late = randomBytes(32)
  const waiting = put(late)
  known.add(late.toString('hex'))
  await Promise.all([...full, waiting])
  await writer.flush(call)
  expect(durable).toEqual([4])
  await put(randomBytes(32))
  await writer.flush(call)
  expect(durable).toEqual([4, 1])
  await writer[Symbol.asyncDispose]()
  expect(buffers.heldCount).toBe(0)
})
