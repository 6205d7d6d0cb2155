import { describe, expect, test } from 'vitest'
import { PackBuffers } from './pack-buffers.ts'

const call = { signal: AbortSignal.timeout(60_000) }

describe('buffers of packs', () => {
  test('everybody gets a first one, and more only within the memory', async () => {
    const buffers = new PackBuffers({ bufferBytes: 10, memoryBytes: 25 })
    const [one, two, three] = [{ heldCount: 0 }, { heldCount: 0 }, { heldCount: 0 }]
    const first = await buffers.take(one, call)
    const second = buffers.tryTake(one)
    expect(second).toHaveLength(10)
    expect(buffers.tryTake(one)).toBeUndefined()
    expect(buffers.tryTake(two)).toHaveLength(10)
    expect(buffers.tryTake(three)).toHaveLength(10)
    expect(buffers.heldCount).toBe(4)
    const waiting = buffers.take(one, call)
    buffers.giveBack(one, first)
    buffers.giveBack(two, new Uint8Array(10))
    expect(buffers.heldCount).toBe(2)
    buffers.giveBack(three, new Uint8Array(10))
    expect(await waiting).toHaveLength(10)
  })

  test('whoever gave up waiting gets none', async () => {
    const buffers = new PackBuffers({ bufferBytes: 10, memoryBytes: 10 })
    const [one, two] = [{ heldCount: 0 }, { heldCount: 0 }]
    const held = await buffers.take(one, call)
    const stop = new AbortController()
    const givenUp = buffers.take(one, { signal: stop.signal })
    const waiting = buffers.take(one, call)
    stop.abort(new Error('enough'))
    await expect(givenUp).rejects.toThrow('enough')
    expect(buffers.tryTake(two)).toHaveLength(10)
    buffers.giveBack(two, new Uint8Array(10))
    buffers.giveBack(one, held)
    expect(await waiting).toBe(held)
    expect(one.heldCount).toBe(1)
  })
})
