import { hkdfSync } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { deriveKey, hkdfExpand, hkdfExtract, keyPurposes } from './hkdf.ts'

const hex = (text: string): Buffer => Buffer.from(text, 'hex')
const counting = (from: number, length: number): Buffer => Buffer.from(Array.from({ length }, (_, at) => from + at))

/** RFC 5869, appendix A. */
test.each([
  {
    name: 'A.1',
    ikm: Buffer.alloc(22, 0x0b),
    salt: counting(0, 13),
    info: counting(0xf0, 10),
    prk: '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5',
    okm: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  },
  {
    name: 'A.2',
    ikm: counting(0, 80),
    salt: counting(0x60, 80),
    info: counting(0xb0, 80),
    prk: '06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244',
    okm:
      'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09' +
      'da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
  },
  {
    name: 'A.3',
    ikm: Buffer.alloc(22, 0x0b),
    salt: Buffer.alloc(0),
    info: Buffer.alloc(0),
    prk: '19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04',
    okm: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  },
])('RFC 5869 $name', ({ ikm, salt, info, prk, okm }) => {
  expect(hkdfExtract(salt, ikm).toString('hex')).toBe(prk)
  expect(hkdfExpand(hex(prk), info, okm.length / 2).toString('hex')).toBe(okm)
})

test('is what OpenSSL derives', () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 100 })
  fc.assert(
    fc.property(bytes, bytes, bytes, fc.integer({ min: 1, max: 200 }), (ikm, salt, info, length) => {
      const wanted = Buffer.from(hkdfSync('sha256', ikm, salt, info, length))
      expect(hkdfExpand(hkdfExtract(salt, ikm), info, length)).toEqual(wanted)
    }),
  )
})

test('each purpose and each salt has a key of its own', () => {
  const purposes = Object.values(keyPurposes)
  const keys = purposes.flatMap((purpose) =>
    [1, 2].map((salt) => deriveKey(Buffer.alloc(32, 7), Buffer.alloc(20, salt), purpose).toString('hex')),
  )
  expect(new Set(keys).size).toBe(purposes.length * 2)
})
