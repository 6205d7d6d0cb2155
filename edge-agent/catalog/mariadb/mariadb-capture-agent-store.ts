import { and, asc, eq, isNull, lt, sql } from 'drizzle-orm'
import { z } from 'zod'
import type { CaptureAgentRecord, CaptureAgentStore, CaptureTokenRecord } from '../capture-agent-store.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { captureAgent, captureToken } from './schema.ts'

const Ports = z.array(z.int().min(1).max(65_535))

export function createMariadbCaptureAgentStore(tx: DatabaseTransaction): CaptureAgentStore {
  return {
    async list() {
      const order = [asc(captureAgent.name), asc(captureAgent.enrolledAt), asc(captureAgent.captureAgentId)]
      return (
        await tx
          .select()
          .from(captureAgent)
          .orderBy(...order)
      ).map(parseAgent)
    },
    async findByKey(keyFingerprint) {
      const [row] = await tx.select().from(captureAgent).where(eq(captureAgent.keyFingerprint, keyFingerprint))
      return row === undefined ? undefined : parseAgent(row)
    },
    async insert(record) {
      await tx
        .insert(captureAgent)
        .values({ ...record, ports: JSON.stringify(record.ports), revokedAt: record.revokedAt ?? null })
        // What is there already keeps its row, whichever of the two keys it shares.
        .onDuplicateKeyUpdate({ set: { captureAgentId: sql`${captureAgent.captureAgentId}` } })
    },
    async revoke(captureAgentId, at) {
      const isIt = eq(captureAgent.captureAgentId, captureAgentId)
      const [row] = await tx.select().from(captureAgent).where(isIt).for('update')
      await tx
        .update(captureAgent)
        .set({ revokedAt: at })
        .where(and(isIt, isNull(captureAgent.revokedAt)))
      return row !== undefined
    },
    async insertToken(token) {
      const values = { ...token, ports: JSON.stringify(token.ports), usedBy: token.usedBy ?? null }
      await tx
        .insert(captureToken)
        .values(values)
        .onDuplicateKeyUpdate({ set: { secretHash: token.secretHash } })
    },
    async findToken(secretHash) {
      const [row] = await tx.select().from(captureToken).where(eq(captureToken.secretHash, secretHash)).for('update')
      return row === undefined ? undefined : parseToken(row)
    },
    async setTokenUsed(secretHash, keyFingerprint) {
      await tx.update(captureToken).set({ usedBy: keyFingerprint }).where(eq(captureToken.secretHash, secretHash))
    },
    async trimTokens(before) {
      await tx.delete(captureToken).where(lt(captureToken.expiresAt, before))
    },
  }
}

function parseAgent({ revokedAt, ...row }: typeof captureAgent.$inferSelect): CaptureAgentRecord {
  const ports = Ports.parse(JSON.parse(row.ports))
  return { ...row, ports, ...(revokedAt === null ? {} : { revokedAt }) }
}

function parseToken({ usedBy, ...row }: typeof captureToken.$inferSelect): CaptureTokenRecord {
  const ports = Ports.parse(JSON.parse(row.ports))
  return { ...row, ports, ...(usedBy === null ? {} : { usedBy }) }
}
