import { describe, expect, test } from 'vitest'
import { ChunkIndex, IndexView } from './chunk-index.ts'
import { testChunkId as idOf, testPack as packOf } from './test-packs.ts'

describe('an index', () => {
  test('knows chunks of the packs that were added and not dropped, in every thread that asks', () => {
    const index = new ChunkIndex()
    const view = new IndexView(index.share())
    const [one, two] = [packOf(1, [1, 2]), packOf(2, [3])]
    index.add(one)
    index.add(two)
    expect(index.packOf(idOf(1))?.packId).toBe(one.packId)
    expect(index.packOf(idOf(4))).toBeUndefined()
    expect([1, 2, 3, 4].map((chunk) => view.has(idOf(chunk)))).toEqual([true, true, true, false])
    index.drop(one.packId)
    index.drop('ff'.repeat(20))
    expect([1, 2, 3].map((chunk) => view.has(idOf(chunk)))).toEqual([false, false, true])
    expect(index.packOf(idOf(1))).toBeUndefined()
    expect(index.packs().map(({ packId }) => packId)).toEqual([two.packId])
  })

  test('a chunk of a dropped pack is known again once another pack holds it', () => {
    const index = new ChunkIndex()
    const view = new IndexView(index.share())
    index.add(packOf(1, [1]))
    index.drop(packOf(1, [1]).packId)
    index.add(packOf(2, [1]))
    expect(index.packOf(idOf(1))?.packId).toBe(packOf(2, [1]).packId)
    expect(view.has(idOf(1))).toBe(true)
  })

  test('of two packs with a chunk the one of the later generation is taken, whichever came first', () => {
    const index = new ChunkIndex()
    index.add(packOf(1, [1], 5))
    index.add(packOf(2, [1], 4))
    expect(index.packOf(idOf(1))?.generation).toBe(5)
    index.add(packOf(3, [1], 6))
    expect(index.packOf(idOf(1))?.generation).toBe(6)
  })

  test('grows past what it was made for; an older view says less, and nothing wrong', () => {
    const index = new ChunkIndex()
    const early = new IndexView(index.share())
    for (let pack = 0; pack < 5000; pack += 1) index.add(packOf(pack, [pack]))
    const late = new IndexView(index.share())
    expect(index.packOf(idOf(4999))?.packId).toBe(packOf(4999, [4999]).packId)
    expect(late.has(idOf(4999))).toBe(true)
    expect(early.has(idOf(0))).toBe(true)
    for (let pack = 5000; pack < 5100; pack += 1) expect([early, late].some((view) => view.has(idOf(pack)))).toBe(false)
    index.drop(packOf(7, [7]).packId)
    expect([early.has(idOf(7)), late.has(idOf(7))]).toEqual([false, false])
  })
})
