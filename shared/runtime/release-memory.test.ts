import { randomBytes } from 'node:crypto'
import process from 'node:process'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { releaseMemory } from './release-memory.ts'

const MIB = 1024 * 1024

describe('memory that is given back', () => {
  test('is gone at once, without a collection', () => {
    const noise = zstdCompressSync(randomBytes(MIB))
    const before = process.memoryUsage().arrayBuffers
    for (let round = 0; round < 40; round += 1) releaseMemory(zstdDecompressSync(noise, { chunkSize: MIB + 64 }))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * MIB)
  })

  test('leaves the array empty, however often it is asked for', () => {
    const bytes = new Uint8Array(MIB)
    releaseMemory(bytes)
    expect(bytes).toHaveLength(0)
    expect(() => releaseMemory(bytes)).not.toThrow()
  })

  test.each([
    ['inside its buffer', new Uint8Array(new ArrayBuffer(MIB), 8)],
    ['from the pool', Buffer.from('pooled')],
    ['shared', new Uint8Array(new SharedArrayBuffer(MIB))],
  ])('stays where it is %s', (_what, bytes) => {
    const { length } = bytes
    releaseMemory(bytes)
    expect(bytes).toHaveLength(length)
  })
})
