import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import type { BlockSource } from '../block/block-source.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { copyDisk } from './copy-disk.ts'
import { createThreadEnvironment } from './copy-environment.ts'
import { SLAB_BYTES } from './slabs/run-buffer.ts'

const MIB = 1024 * 1024
const SLABS = 8
const call = { signal: AbortSignal.timeout(60_000) }

/** What is read into at one time, over all copies. */
class MemoryInUse {
  readonly #parts = new Set<{ readonly start: number; readonly end: number }>()
  readonly memory: SharedArrayBuffer
  mostBytes = 0

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
  }

  async during(into: Uint8Array, work: () => Promise<void>): Promise<void> {
    assert.equal(into.buffer, this.memory)
    const part = { start: into.byteOffset, end: into.byteOffset + into.length }
    for (const other of this.#parts)
      assert(part.end <= other.start || part.start >= other.end, 'nobody else reads here')
    this.#parts.add(part)
    const sum = [...this.#parts].reduce((bytes, { start, end }) => bytes + end - start, 0)
    this.mostBytes = Math.max(this.mostBytes, sum)
    await work()
    this.#parts.delete(part)
  }
}

describe('fifty copies on one thread', () => {
  test('read into nothing but the arena, never into the same part of it, and all end right', async () => {
    const memory = new SharedArrayBuffer(SLABS * SLAB_BYTES)
    const inUse = new MemoryInUse(memory)
    const environment = createThreadEnvironment(memory)
    const copies = Array.from({ length: 50 }, async (_, index) => {
      const disk = createMemoryDisk({ sizeBytes: 3 * MIB, content: new Uint8Array(3 * MIB).fill(index + 1) })
      const source: BlockSource = {
        sizeBytes: disk.sizeBytes,
        extents: (range, options) => disk.extents(range, options),
        read: async (offsetBytes, into, options) => {
          await inUse.during(into, async () => {
            for (let turn = index % 5; turn > 0; turn -= 1) await new Promise(setImmediate)
            await disk.read(offsetBytes, into, options)
          })
        },
        [Symbol.asyncDispose]: async () => undefined,
      }
      const sink = createMemoryDisk({ sizeBytes: disk.sizeBytes })
      using held = new DisposableStack()
      const owner = { tenantId: `tenant-${index % 3}`, jobId: `job-${index % 7}` }
      await copyDisk({ source, sink, owner }, call, { ...environment, held })
      return Buffer.compare(sink.bytes, disk.bytes)
    })
    expect(await Promise.all(copies)).toEqual(copies.map(() => 0))
    expect(inUse.mostBytes).toBeGreaterThan((SLABS / 2) * SLAB_BYTES)
    expect(environment.slabs.freeCount).toBe(SLABS)
  })

  test('get one buffer each in turns when there are fewer buffers than copies', async () => {
    const environment = createThreadEnvironment(new SharedArrayBuffer(SLAB_BYTES))
    const copies = Array.from({ length: 50 }, async (_, index) => {
      const disk = createMemoryDisk({ sizeBytes: 2 * MIB + 1, content: new Uint8Array(2 * MIB + 1).fill(index + 1) })
      const sink = createMemoryDisk({ sizeBytes: disk.sizeBytes })
      using held = new DisposableStack()
      await copyDisk({ source: disk, sink }, call, { ...environment, held })
      return Buffer.compare(sink.bytes, disk.bytes)
    })
    expect(await Promise.all(copies)).toEqual(copies.map(() => 0))
  })
})

/** Disks behind one server that answers one request at a time, in the order they came. */
class OneServer {
  #last: Promise<void> = Promise.resolve()

  diskOf(sizeBytes: number, onRead: (bytes: number) => void): BlockSource {
    const disk = createMemoryDisk({ sizeBytes, content: new Uint8Array(sizeBytes).fill(1) })
    return {
      sizeBytes,
      extents: (range, options) => disk.extents(range, options),
      read: async (_offsetBytes, into) => {
        const turn = this.#last.then(async () => await new Promise<void>((resolve) => setImmediate(resolve)))
        this.#last = turn
        await turn
        onRead(into.length)
      },
      [Symbol.asyncDispose]: async () => undefined,
    }
  }
}

test('a tenant’s only copy gets many times the part of each of another tenant’s fifty, on one thread and before one server', async () => {
  const environment = createThreadEnvironment(new SharedArrayBuffer(512 * SLAB_BYTES))
  const server = new OneServer()
  const control = new AbortController()
  let ofLarge = 0
  const areUnderWay = Promise.withResolvers<void>()
  const copy = async (tenantId: string, jobId: string, source: BlockSource, signal: AbortSignal): Promise<void> => {
    using held = new DisposableStack()
    await copyDisk({ source, owner: { tenantId, jobId } }, { signal }, { ...environment, held })
  }
  const large = Array.from({ length: 50 }, async (_, index) => {
    const source = server.diskOf(40 * MIB, (bytes) => {
      ofLarge += bytes
      if (ofLarge >= 200 * MIB) areUnderWay.resolve()
    })
    await copy('large', `${index}`, source, control.signal)
  })
  // All of them are under way before the other one comes.
  await areUnderWay.promise
  const before = ofLarge
  await copy(
    'small',
    'only',
    server.diskOf(48 * MIB, () => undefined),
    call.signal,
  )
  const meanwhile = ofLarge - before
  control.abort(new Error('enough'))
  await Promise.allSettled(large)
  // Fifty times as much where everybody had the same.
  expect(meanwhile).toBeLessThan(10 * 48 * MIB)
})
