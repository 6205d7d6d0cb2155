import { expect, test } from 'vitest'
import { formatByteSize, GIB, KIB, MIB, parseByteSize } from './byte-size.ts'

test.each([
  [0, '0 B'],
  [1, '1 B'],
  [1023, '1023 B'],
  [KIB, '1 KiB'],
  [1536, '1.5 KiB'],
  [10 * MIB, '10 MiB'],
  [10.25 * MIB, '10.3 MiB'],
  [100 * MIB, '100 MiB'],
  [1023.7 * MIB, '1 GiB'],
  [2.25 * GIB, '2.25 GiB'],
  [5000 * GIB, '4.88 TiB'],
])('%d bytes read as %s', (bytes, text) => {
  expect(formatByteSize(bytes)).toBe(text)
})

test.each([
  ['0', 0],
  ['4096', 4096],
  ['64K', 64 * KIB],
  ['64 KiB', 64 * KIB],
  ['1.5g', 1.5 * GIB],
  ['100MB', 100 * MIB],
  ['12 B', 12],
  ['2T', 2048 * GIB],
  ['', undefined],
  ['-1', undefined],
  ['1X', undefined],
  ['1e9', undefined],
  ['9999999P', undefined],
])('%s is %d bytes', (text, bytes) => {
  expect(parseByteSize(text)).toBe(bytes)
})
