import { generateKeyPairSync } from 'node:crypto'
import ssh2 from 'ssh2'
import { expect, test } from 'vitest'
import { fingerprintOf, generateEd25519Key, isEd25519PublicKey, isSignedBy, readEd25519Key } from './ed25519-key.ts'

/** Where the 32 bytes of a key begin in what travels. */
const KEY_AT = 19

test('a signature holds for its key and its bytes alone, and ssh2 agrees', () => {
  const key = readEd25519Key(generateEd25519Key(), 'one')
  const other = readEd25519Key(generateEd25519Key(), 'other')
  const blob = Buffer.from('what was signed')
  const signature = key.sign(blob)
  expect(isSignedBy(key.publicKey, blob, signature)).toBe(true)
  expect(isSignedBy(other.publicKey, blob, signature)).toBe(false)
  expect(isSignedBy(key.publicKey, Buffer.from('what was not'), signature)).toBe(false)
  expect(isSignedBy(key.publicKey, blob, signature.subarray(1))).toBe(false)
  const parsed = ssh2.utils.parseKey(key.publicKey)
  expect(parsed instanceof Error ? parsed : parsed.verify(blob, signature)).toBe(true)
})

test('a key whose public half begins with a zero byte is like any other', () => {
  // One in 256 does: that twenty thousand do not happens once in 10^34.
  for (let tried = 0; tried < 20_000; tried++) {
    const key = readEd25519Key(generateEd25519Key(), 'test')
    if (key.publicKey[KEY_AT] !== 0) continue
    expect(isEd25519PublicKey(key.publicKey)).toBe(true)
    expect(isSignedBy(key.publicKey, Buffer.from('x'), key.sign(Buffer.from('x')))).toBe(true)
    return
  }
  throw new Error('no such key was made')
})

test('a fingerprint is that of ssh-keygen', () => {
  // Both as ssh-keygen of OpenSSH 9.2 printed them.
  const key = 'AAAAC3NzaC1lZDI1NTE5AAAAIDiBf1KyKH8wGKSSn/4Lvs0g/y73BxWYWarLwU7oDpwS'
  const fingerprint = 'SHA256:fC1KnyIIsMRkXNqrKZyroJuKI1CE5y4DoDuKw+cOxOw'
  expect(fingerprintOf(Buffer.from(key, 'base64'))).toBe(fingerprint)
})

test.each([
  ['nothing', ''],
  ['text', 'ssh-ed25519 AAAA'],
  [
    'an RSA key',
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
  ],
  ['an X25519 key', generateKeyPairSync('x25519').privateKey.export({ type: 'pkcs8', format: 'pem' })],
])('%s is no key', (_what, pem) => {
  expect(() => readEd25519Key(String(pem), 'the key')).toThrow(expect.objectContaining({ code: 'config.invalid' }))
})

test('what is longer, shorter or of another kind is no public key', () => {
  const { publicKey } = readEd25519Key(generateEd25519Key(), 'test')
  for (const wrong of [
    publicKey.subarray(1),
    Buffer.concat([publicKey, Buffer.of(0)]),
    Buffer.alloc(51),
    Buffer.of(),
  ]) {
    expect(isEd25519PublicKey(wrong)).toBe(false)
    expect(isSignedBy(wrong, Buffer.of(1), Buffer.alloc(64))).toBe(false)
  }
})
