import { blake3 } from '@napi-rs/blake-hash'
import { describe, expect, test } from 'vitest'
import { ChunkTable } from './chunk-table.ts'

function idOf(number: number): Uint8Array {
  return Uint8Array.from(blake3(String(number)))
}

describe('a chunk table', () => {
  test('knows each id that was set, and no other, over all sizes it is exchanged for', () => {
    let table = new ChunkTable(1)
    for (let number = 0; number < 5000; number += 1) {
      if (table.isFull) {
        const larger = new ChunkTable(table.count * 2)
        larger.copyFrom(table)
        table = larger
      }
      table.set(idOf(number), number)
    }
    expect(table.count).toBe(5000)
    for (let number = 0; number < 5000; number += 1) expect(table.get(idOf(number))).toBe(number)
    for (let number = 5000; number < 10_000; number += 1) expect(table.get(idOf(number))).toBeUndefined()
  })

  test('ids that begin alike are told apart, and wrap around the end', () => {
    const table = new ChunkTable(1)
    const ids = Array.from({ length: 300 }, (_, index) => {
      const id = new Uint8Array(32).fill(0xff)
      id[31] = index & 0xff
      id[30] = index >> 8
      return id
    })
    for (const [index, id] of ids.entries()) table.set(id, index)
    for (const [index, id] of ids.entries()) expect(table.get(id)).toBe(index)
  })

  test('a number is exchanged, and another view of the memory sees it', () => {
    const table = new ChunkTable(1)
    const view = new ChunkTable(table.memory)
    expect(view.get(idOf(1))).toBeUndefined()
    table.set(idOf(1), 0)
    expect(view.get(idOf(1))).toBe(0)
    table.set(idOf(1), 2 ** 32 - 2)
    expect(view.get(idOf(1))).toBe(2 ** 32 - 2)
    expect(table.count).toBe(1)
  })
})
