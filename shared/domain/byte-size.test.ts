import { expect, test } from 'vitest'
import { formatByteSize, GIB, KIB, MIB } from './byte-size.ts'

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
