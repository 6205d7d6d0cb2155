import { describe, expect, test } from 'vitest'
import { ChunkHash, isAllZeros } from './chunk-hash.ts'

describe('chunk ids', () => {
  test('are keyed BLAKE3-256, as its official test vectors have it', () => {
    const key = new TextEncoder().encode('whats the Elvish word for friend')
    const input = Uint8Array.from({ length: 1024 }, (_, at) => at % 251)
    const id = Buffer.from(new ChunkHash(key).idOf(input)).toString('hex')
    expect(id).toBe('75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4')
  })

  test('of zeros are zero, whatever their length', () => {
    const hash = new ChunkHash(new Uint8Array(32).fill(1))
    for (const lengthBytes of [1, 4096, 262_144, 1_000_001]) {
      expect(hash.idOf(new Uint8Array(lengthBytes))).toEqual(new Uint8Array(32))
    }
  })

  test('one byte that is not zero, anywhere, is seen', () => {
    const bytes = new Uint8Array(600_001)
    expect(isAllZeros(bytes)).toBe(true)
    for (const at of [0, 262_143, 262_144, 524_288, 600_000]) {
      bytes[at] = 1
      expect(isAllZeros(bytes)).toBe(false)
      bytes[at] = 0
    }
  })
})
