import { createHash, randomBytes } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { eq } from 'drizzle-orm'
import { appendAudit } from '../audit/audit-chain.ts'
import type { Transaction } from '../db/resilient-pool.ts'
import { enrolmentToken } from '../db/schema/fleet.ts'
import { site } from '../db/schema/tenancy.ts'

const LIFETIME_MS = 24 * 3_600_000

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

/**
 * Makes a token that enrols one agent at a site, once, within a day. Only its hash is kept.
 * Rejects with `resource.not_found`.
 */
export async function createEnrolmentToken(
  tx: Transaction,
  order: { siteId: string; createdBy: string; now: Date },
): Promise<{ token: string; siteId: string; expiresAt: string }> {
  const { siteId, createdBy, now } = order
  const [place] = await tx.select().from(site).where(eq(site.id, siteId))
  if (place === undefined) throw new PlatformError('resource.not_found', `site ${siteId} is not there`)
  const token = `sde_${randomBytes(32).toString('base64url')}`
  const expiresAt = new Date(now.getTime() + LIFETIME_MS)
  const { mspId, customerId } = place
  await tx.insert(enrolmentToken).values({
    mspId,
    customerId,
    siteId,
    id: newId(now),
    tokenHash: hashToken(token),
    createdBy,
    createdAt: now,
    expiresAt,
  })
  await appendAudit(tx, {
    mspId,
    customerId,
    actor: createdBy,
    action: 'enrolment-token.created',
    details: { siteId, expiresAt: expiresAt.toISOString() },
    at: now,
  })
  return { token, siteId, expiresAt: expiresAt.toISOString() }
}
