import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { CaptureAgentRecord, CaptureTokenRecord } from './capture-agent-store.ts'
import type { CatalogueTransaction } from './catalogue.ts'

type Run = <T>(work: (tx: CatalogueTransaction) => Promise<T>) => Promise<T>

/** The contract of CaptureAgentStore as tests, for describeCatalogue. */
export function describeCaptureAgents(run: Run): void {
  const findByKey = finderOf(run)
  describe('capture agents', () => {
    test('come back as they were written, by key and in the list', async () => {
      const agent = newAgent()
      await run(async (tx) => await tx.captureAgents.insert(agent))
      expect(await findByKey(agent.keyFingerprint)).toEqual(agent)
      expect(await findByKey(newAgent().keyFingerprint)).toBeUndefined()
      expect(await run(async (tx) => await tx.captureAgents.list())).toContainEqual(agent)
    })

    test('an id and a key belong to whoever had them first', async () => {
      const agent = newAgent()
      const sameKey = { ...newAgent(), keyFingerprint: agent.keyFingerprint }
      const sameId = { ...newAgent(), captureAgentId: agent.captureAgentId }
      await run(async (tx) => {
        await tx.captureAgents.insert(agent)
        await tx.captureAgents.insert(sameKey)
        await tx.captureAgents.insert(sameId)
        await tx.captureAgents.insert(agent)
      })
      expect(await findByKey(agent.keyFingerprint)).toEqual(agent)
      expect(await findByKey(sameId.keyFingerprint)).toBeUndefined()
      const listed = await run(async (tx) => await tx.captureAgents.list())
      expect(listed.filter((other) => other.captureAgentId === sameKey.captureAgentId)).toEqual([])
    })

    test('are revoked once: the first moment stays', async () => {
      const agent = newAgent()
      const at = new Date('2026-02-03T04:05:06.789Z')
      await run(async (tx) => await tx.captureAgents.insert(agent))
      expect(await run(async (tx) => await tx.captureAgents.revoke(agent.captureAgentId, at))).toBe(true)
      expect(await run(async (tx) => await tx.captureAgents.revoke(agent.captureAgentId, new Date()))).toBe(true)
      expect(await findByKey(agent.keyFingerprint)).toEqual({ ...agent, revokedAt: at })
      expect(await run(async (tx) => await tx.captureAgents.revoke(randomUUID(), at))).toBe(false)
    })

    test('a token comes back as it was written, and remembers the key it was used for', async () => {
      const token = newToken()
      const { secretHash } = token
      const find = async () => await run(async (tx) => await tx.captureAgents.findToken(secretHash))
      await run(async (tx) => await tx.captureAgents.insertToken(token))
      expect(await find()).toEqual(token)
      const { keyFingerprint } = newAgent()
      await run(async (tx) => await tx.captureAgents.setTokenUsed(secretHash, keyFingerprint))
      await run(async (tx) => await tx.captureAgents.insertToken(token))
      expect(await find()).toEqual({ ...token, usedBy: keyFingerprint })
    })

    test('of transactions that use one token at the same time only one finds it unused', async () => {
      const token = newToken()
      await run(async (tx) => await tx.captureAgents.insertToken(token))
      const use = async (keyFingerprint: string) =>
        await run(async (tx) => {
          const found = await tx.captureAgents.findToken(token.secretHash)
          if (found?.usedBy === undefined) await tx.captureAgents.setTokenUsed(token.secretHash, keyFingerprint)
          return found?.usedBy ?? keyFingerprint
        })
      const keys = Array.from({ length: 6 }, () => newAgent().keyFingerprint)
      const winners = new Set(await Promise.all(keys.map(use)))
      expect(winners.size).toBe(1)
    })

    test('old tokens are trimmed, others stay', async () => {
      const old = { ...newToken(), expiresAt: new Date(1000) }
      const young = newToken()
      await run(async (tx) => {
        await tx.captureAgents.insertToken(old)
        await tx.captureAgents.insertToken(young)
        await tx.captureAgents.trimTokens(new Date(2000))
      })
      expect(await run(async (tx) => await tx.captureAgents.findToken(old.secretHash))).toBeUndefined()
      expect(await run(async (tx) => await tx.captureAgents.findToken(young.secretHash))).toEqual(young)
    })
  })
}

function finderOf(run: Run) {
  return async (fingerprint: string) => await run(async (tx) => await tx.captureAgents.findByKey(fingerprint))
}

function newAgent(): CaptureAgentRecord {
  return {
    captureAgentId: randomUUID(),
    name: 'kvm-1',
    ports: [1, 20_001, 65_535],
    keyFingerprint: `SHA256:${randomBytes(32).toString('base64').replace('=', '')}`,
    publicKey: randomBytes(51).toString('base64'),
    enrolledAt: new Date('2026-01-02T03:04:05.678Z'),
  }
}

function newToken(): CaptureTokenRecord {
  return {
    secretHash: createHash('sha256').update(randomBytes(32)).digest('hex'),
    captureAgentId: randomUUID(),
    name: 'kvm-1',
    ports: [20_001],
    expiresAt: new Date('2036-01-02T03:04:05.678Z'),
  }
}
