import { createHash } from 'node:crypto'
import { asc, eq } from 'drizzle-orm'
import type { Transaction } from '../db/resilient-pool.ts'
import { auditEntry, auditHead } from '../db/schema/ledgers.ts'

const BEFORE_THE_FIRST = '0'.repeat(64)

export interface AuditFact {
  readonly mspId: string
  /** Absent: it concerns the whole MSP. */
  readonly customerId?: string
  /** E-mail address of a person, `agent:<id>` or `cloud`. */
  readonly actor: string
  /** `noun.past-tense-verb` */
  readonly action: string
  readonly details: Readonly<Record<string, unknown>>
  readonly at: Date
}

/**
 * Adds an entry to its MSP's chain: each hash is SHA-256 over the hash before, a line feed and the entry's
 * exact text. Holds the chain's head until the transaction ends, so call it last.
 */
export async function appendAudit(tx: Transaction, fact: AuditFact): Promise<void> {
  const { mspId, at, actor, action, details } = fact
  await tx.insert(auditHead).values({ mspId, sequence: 0, hash: BEFORE_THE_FIRST }).onConflictDoNothing()
  const [head] = await tx.select().from(auditHead).where(eq(auditHead.mspId, mspId)).for('update')
  if (head === undefined) throw new Error('the audit chain has no head')
  const sequence = head.sequence + 1
  const customerId = fact.customerId ?? null
  const entry = JSON.stringify({ sequence, at: at.toISOString(), mspId, customerId, actor, action, details })
  const hash = link(head.hash, entry)
  await tx
    .insert(auditEntry)
    .values({ mspId, sequence, customerId, at, actor, action, entry, previousHash: head.hash, hash })
  await tx.update(auditHead).set({ sequence, hash }).where(eq(auditHead.mspId, mspId))
}

/**
 * Walks an MSP's chain; the transaction must see all of it.
 * @returns the number of the first entry that was changed, moved or removed (one past the last where the
 *   end was cut off), or undefined where the chain is whole
 */
export async function findBrokenAudit(tx: Transaction, mspId: string): Promise<number | undefined> {
  const entries = await tx
    .select()
    .from(auditEntry)
    .where(eq(auditEntry.mspId, mspId))
    .orderBy(asc(auditEntry.sequence))
  let previous = BEFORE_THE_FIRST
  for (const [index, entry] of entries.entries()) {
    const expected = link(previous, entry.entry)
    if (entry.sequence !== index + 1 || entry.previousHash !== previous || entry.hash !== expected) return index + 1
    previous = entry.hash
  }
  const [head] = await tx.select().from(auditHead).where(eq(auditHead.mspId, mspId))
  return (head?.hash ?? BEFORE_THE_FIRST) === previous ? undefined : entries.length + 1
}

function link(previousHash: string, entry: string): string {
  return createHash('sha256').update(`${previousHash}\n${entry}`).digest('hex')
}
