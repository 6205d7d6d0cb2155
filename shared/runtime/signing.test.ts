import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { payloadTypes, type TrustRoot } from '../contracts/signed-envelope.ts'
import { PlatformError } from '../errors/platform-error.ts'
import {
  exportSigningKey,
  generateSigningKey,
  importSigningKey,
  openEnvelope,
  openRootedEnvelope,
  signDelegation,
  signEnvelope,
} from './signing.ts'

const type = payloadTypes.cloudMessage
const now = new Date('2026-01-02T00:00:00Z')
const root = generateSigningKey()
const online = generateSigningKey()
const trustRoot: TrustRoot = { version: 1, keys: [{ keyId: root.keyId, publicKey: root.publicKey }] }
const delegation = signDelegation(
  {
    version: 1,
    keyId: online.keyId,
    publicKey: online.publicKey,
    classes: ['read', 'operate'],
    notBefore: '2026-01-01T00:00:00.000Z',
    notAfter: '2026-02-01T00:00:00.000Z',
  },
  root,
)

function codeOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof PlatformError) return error.code
    throw error
  }
  return 'nothing thrown'
}

describe('signed envelopes', () => {
  test('what was signed is what is opened, for any JSON value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const bytes = Buffer.from(JSON.stringify(signEnvelope(type, { value }, root)))
        expect(JSON.stringify(openEnvelope(bytes, type, root.publicKey))).toBe(JSON.stringify({ value }))
      }),
    )
  })

  test('a key survives export and import', () => {
    const again = importSigningKey(exportSigningKey(root))
    expect(again.keyId).toBe(root.keyId)
    expect(openEnvelope(JSON.stringify(signEnvelope(type, 1, again)), type, root.publicKey)).toBe(1)
  })

  test('no single flipped bit is accepted', () => {
    const envelope = signEnvelope(type, { order: 'backup', vm: 'a' }, root)
    const payload = Buffer.from(envelope.payload, 'base64')
    const signature = Buffer.from(envelope.signature.value, 'base64')
    for (const target of [payload, signature]) {
      for (let bit = 0; bit < target.length * 8; bit += 1) {
        target[bit >> 3] = (target[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        const forged = {
          ...envelope,
          payload: payload.toString('base64'),
          signature: { ...envelope.signature, value: signature.toString('base64') },
        }
        expect(codeOf(() => openEnvelope(JSON.stringify(forged), type, root.publicKey))).toBe(
          'command.signature_invalid',
        )
        target[bit >> 3] = (target[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      }
    }
  })

  test('a signature of one type is worthless for another', () => {
    const envelope = signEnvelope(payloadTypes.agentMessage, { a: 1 }, root)
    expect(codeOf(() => openEnvelope(JSON.stringify(envelope), type, root.publicKey))).toBe('command.invalid')
    const relabelled = JSON.stringify({ ...envelope, payloadType: type })
    expect(codeOf(() => openEnvelope(relabelled, type, root.publicKey))).toBe('command.signature_invalid')
  })

  test('a delegated key is accepted and lends only its classes', () => {
    const envelope = signEnvelope(type, { a: 1 }, online, delegation)
    const opened = openRootedEnvelope(JSON.stringify(envelope), type, trustRoot, now)
    expect(opened.value).toEqual({ a: 1 })
    expect(opened.delegation?.classes).toEqual(['read', 'operate'])
  })

  test('a root key needs no delegation', () => {
    const opened = openRootedEnvelope(JSON.stringify(signEnvelope(type, 7, root)), type, trustRoot, now)
    expect(opened).toEqual({ value: 7, delegation: undefined })
  })

  test.each([
    ['without a delegation', () => signEnvelope(type, 1, online), now],
    [
      'with a delegation by a stranger',
      () => signEnvelope(type, 1, online, signDelegation(delegationOf(online), online)),
      now,
    ],
    ['with the delegation of another key', () => signEnvelope(type, 1, generateSigningKey(), delegation), now],
    ['before its time', () => signEnvelope(type, 1, online, delegation), new Date('2025-12-31T23:59:59Z')],
    ['after its time', () => signEnvelope(type, 1, online, delegation), new Date('2026-02-01T00:00:00Z')],
  ])('a delegated key is refused %s', (_when, make, at) => {
    expect(codeOf(() => openRootedEnvelope(JSON.stringify(make()), type, trustRoot, at))).toBe(
      'command.signature_invalid',
    )
  })

  test('bytes that are no envelope are answered with command.invalid, whatever they are', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(codeOf(() => openRootedEnvelope(text, type, trustRoot, now))).toBe('command.invalid')
      }),
    )
  })
})

function delegationOf(key: { keyId: string; publicKey: string }) {
  return {
    version: 1 as const,
    keyId: key.keyId,
    publicKey: key.publicKey,
    classes: ['destructive' as const],
    notBefore: '2026-01-01T00:00:00.000Z',
    notAfter: '2026-02-01T00:00:00.000Z',
  }
}
