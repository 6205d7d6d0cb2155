import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withFlippedBit } from '../format/test-repository.ts'
import { deriveKeyPair, hpkeAeads, hpkeOpen, hpkeSeal, kemSecret, keySchedule } from './hpke.ts'
import { privateKeyFromBytes, publicKeyBytes, sharedSecret } from './x25519-key.ts'

/** OpenSSL's words, or ours. */
const REFUSAL = /unable to authenticate data|cut short/
const hex = (text: string): Buffer => Buffer.from(text, 'hex')

test('RFC 7748, 6.1: both sides get the published secret', () => {
  const alice = privateKeyFromBytes(hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'))
  const bob = privateKeyFromBytes(hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'))
  expect(publicKeyBytes(alice)).toEqual(hex('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'))
  expect(publicKeyBytes(bob)).toEqual(hex('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'))
  const secret = hex('4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742')
  expect(sharedSecret(alice, publicKeyBytes(bob))).toEqual(secret)
  expect(sharedSecret(bob, publicKeyBytes(alice))).toEqual(secret)
})

test.each(['00', '01'])('a public key that gives everybody the same secret is refused: %s…', (first) => {
  const alice = deriveKeyPair(Buffer.alloc(32, 1))
  expect(() => sharedSecret(alice, hex(first.padEnd(64, '0')))).toThrow(/derivation|failed/i)
})

/** RFC 9180, A.1.1 (AES-128-GCM; the RFC prints no vector of this KEM with AES-256-GCM). */
const rfc = {
  info: hex('4f6465206f6e2061204772656369616e2055726e'),
  plain: hex('4265617574792069732074727574682c20747275746820626561757479'),
  aad: hex('436f756e742d30'),
  ikmE: hex('7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234'),
  ikmR: hex('6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037'),
  skRm: hex('4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8'),
  pkRm: hex('3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d'),
  enc: hex('37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431'),
  secret: 'fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc',
  key: '4531685d41d65f03dc48f6b8302c05b0',
  nonce: '56d890e5accaaf011cff4b7d',
  ciphertext: hex('f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a'),
}

describe('RFC 9180, A.1.1', () => {
  const { info, aad, plain } = rfc

  test('derives the published key pairs', () => {
    expect(publicKeyBytes(deriveKeyPair(rfc.ikmE))).toEqual(rfc.enc)
    expect(publicKeyBytes(deriveKeyPair(rfc.ikmR))).toEqual(rfc.pkRm)
    expect(publicKeyBytes(privateKeyFromBytes(rfc.skRm))).toEqual(rfc.pkRm)
  })

  test('has the published secret, key and nonce', () => {
    const dh = sharedSecret(deriveKeyPair(rfc.ikmE), rfc.pkRm)
    const secret = kemSecret(dh, rfc.enc, rfc.pkRm)
    expect(secret.toString('hex')).toBe(rfc.secret)
    const { key, nonce } = keySchedule(secret, info, hpkeAeads.aes128Gcm)
    expect([key.toString('hex'), nonce.toString('hex')]).toEqual([rfc.key, rfc.nonce])
  })

  test('seals and opens the published message', () => {
    const message = hpkeSeal(rfc.pkRm, { info, aad }, plain, deriveKeyPair(rfc.ikmE), hpkeAeads.aes128Gcm)
    expect(message).toEqual({ encapsulatedKey: rfc.enc, ciphertext: rfc.ciphertext })
    const receiver = privateKeyFromBytes(rfc.skRm)
    expect(hpkeOpen(receiver, { info, aad }, message, hpkeAeads.aes128Gcm)).toEqual(plain)
  })

  /** BoringSSL's vector of this KEM with AEAD 2, for the first message. */
  test('seals the published message with AES-256-GCM too', () => {
    const ephemeral = privateKeyFromBytes(hex('28e212563a8b6f068af7ff17400ff1baf23612b7a738bbaf5dfb321b2b5b431a'))
    const receiver = hex('ac66bae9ffa270cf4a89ed9f274e30c0456babae2572aaaf002ff0d8884ab018')
    const { ciphertext } = hpkeSeal(receiver, { info, aad }, plain, ephemeral)
    expect(Buffer.from(ciphertext).toString('hex')).toBe(
      '23ded2d5d90ea89d975dac4792b297240f194952d7421aacbff0474100052b6bb8aa58d18ef6c42b6960e2e28f',
    )
  })
})

describe('a sealed message', () => {
  const receiver = deriveKeyPair(Buffer.alloc(32, 1))
  const context = { info: Buffer.from('for'), aad: Buffer.from('with') }
  const seal = (plain: Uint8Array, seed: number) =>
    hpkeSeal(publicKeyBytes(receiver), context, plain, deriveKeyPair(Buffer.alloc(32, seed)))

  test('opens as what it was', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 2, max: 255 }), (plain, seed) => {
        expect(hpkeOpen(receiver, context, seal(plain, seed))).toEqual(Buffer.from(plain))
      }),
      { numRuns: 30 },
    )
  })

  test('does not open with a bit turned, cut short, for another key, purpose or context', () => {
    const { encapsulatedKey, ciphertext } = seal(Buffer.from('a key ring'), 2)
    for (let bit = 0; bit < ciphertext.length * 8; bit += 1) {
      expect(() =>
        hpkeOpen(receiver, context, { encapsulatedKey, ciphertext: withFlippedBit(ciphertext, bit) }),
      ).toThrow(REFUSAL)
    }
    for (let bit = 0; bit < encapsulatedKey.length * 8; bit += 1) {
      expect(() =>
        hpkeOpen(receiver, context, { ciphertext, encapsulatedKey: withFlippedBit(encapsulatedKey, bit) }),
      ).toThrow(REFUSAL)
    }
    const message = { encapsulatedKey, ciphertext }
    expect(() => hpkeOpen(deriveKeyPair(Buffer.alloc(32, 3)), context, message)).toThrow(REFUSAL)
    expect(() => hpkeOpen(receiver, { ...context, info: Buffer.from('from') }, message)).toThrow(REFUSAL)
    expect(() => hpkeOpen(receiver, { ...context, aad: Buffer.from('without') }, message)).toThrow(REFUSAL)
    expect(() => hpkeOpen(receiver, context, { encapsulatedKey, ciphertext: ciphertext.subarray(0, 15) })).toThrow(
      REFUSAL,
    )
    expect(hpkeOpen(receiver, context, message).toString()).toBe('a key ring')
  })
})
