import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { TunnelGrant, TunnelGrants } from './tunnel-grants.ts'

/** What a test needs to set up beside the interface. */
export interface GrantsUnderTest {
  readonly grants: TunnelGrants
  /** Makes a token that can be used, or one that is too old; returns its secret. */
  readonly createToken: (grant: TunnelGrant, options: { readonly isOld: boolean }) => Promise<string>
  readonly revoke: (captureAgentId: string) => Promise<void>
}

/** The contract of TunnelGrants as tests. */
export function describeTunnelGrants(name: string, open: () => Promise<GrantsUnderTest>): void {
  describe(`TunnelGrants conformance: ${name}`, () => {
    const options = { signal: AbortSignal.timeout(60_000) }

    test('a key that was never let in has no grant', async () => {
      const { grants } = await open()
      expect(await grants.find(newKey().fingerprint, options)).toBeUndefined()
    })

    test('a token makes one key a capture agent', async () => {
      const { grants, createToken } = await open()
      const grant = newGrant()
      const secret = await createToken(grant, { isOld: false })
      const key = newKey()
      expect(await grants.enrol({ secret, ...key }, options)).toEqual(grant)
      expect(await grants.find(key.fingerprint, options)).toEqual(grant)
    })

    test('a token that was used is of no use to another key, and the same key is answered again', async () => {
      const { grants, createToken } = await open()
      const grant = newGrant()
      const secret = await createToken(grant, { isOld: false })
      const key = newKey()
      const other = newKey()
      await grants.enrol({ secret, ...key }, options)
      expect(await grants.enrol({ secret, ...other }, options)).toBeUndefined()
      expect(await grants.find(other.fingerprint, options)).toBeUndefined()
      expect(await grants.enrol({ secret, ...key }, options)).toEqual(grant)
    })

    test('of keys that use one token at the same time one gets it', async () => {
      const { grants, createToken } = await open()
      const secret = await createToken(newGrant(), { isOld: false })
      const keys = Array.from({ length: 5 }, newKey)
      const answers = await Promise.all(keys.map(async (key) => await grants.enrol({ secret, ...key }, options)))
      expect(answers.filter((answer) => answer !== undefined)).toHaveLength(1)
      const found = await Promise.all(keys.map(async (key) => await grants.find(key.fingerprint, options)))
      expect(found.filter((grant) => grant !== undefined)).toHaveLength(1)
    })

    test('a token that is too old, or was never made, lets nobody in', async () => {
      const { grants, createToken } = await open()
      const secret = await createToken(newGrant(), { isOld: true })
      const key = newKey()
      expect(await grants.enrol({ secret, ...key }, options)).toBeUndefined()
      expect(await grants.enrol({ secret: newSecret(), ...key }, options)).toBeUndefined()
      expect(await grants.find(key.fingerprint, options)).toBeUndefined()
    })

    test('a key is one capture agent: it cannot use a second token, which stays good', async () => {
      const { grants, createToken } = await open()
      const [first, second] = [newGrant(), newGrant()]
      const key = newKey()
      await grants.enrol({ secret: await createToken(first, { isOld: false }), ...key }, options)
      const secret = await createToken(second, { isOld: false })
      expect(await grants.enrol({ secret, ...key }, options)).toBeUndefined()
      expect(await grants.find(key.fingerprint, options)).toEqual(first)
      expect(await grants.enrol({ secret, ...newKey() }, options)).toEqual(second)
    })

    test('a revoked key has no grant, and its token does not bring it back', async () => {
      const { grants, createToken, revoke } = await open()
      const grant = newGrant()
      const secret = await createToken(grant, { isOld: false })
      const key = newKey()
      await grants.enrol({ secret, ...key }, options)
      const { captureAgentId } = grant
      expect(await grants.listRevoked([captureAgentId], options)).toEqual([])
      await revoke(captureAgentId)
      expect(await grants.find(key.fingerprint, options)).toBeUndefined()
      expect(await grants.enrol({ secret, ...key }, options)).toBeUndefined()
      expect(await grants.listRevoked([captureAgentId], options)).toEqual([captureAgentId])
    })
  })
}

function newGrant(): TunnelGrant {
  return { captureAgentId: randomUUID(), name: 'host-1', ports: [20_001, 20_002] }
}

function newSecret(): string {
  return randomBytes(32).toString('base64url')
}

function newKey(): { fingerprint: string; publicKey: string } {
  return {
    fingerprint: `SHA256:${randomBytes(32).toString('base64').replace('=', '')}`,
    publicKey: randomBytes(51).toString('base64'),
  }
}
