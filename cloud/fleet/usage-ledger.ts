import type { RecordedFact, UsageLedger } from '@sendense/billing/metering/usage-ledger.ts'
import { and, asc, eq, gte, lt } from 'drizzle-orm'
import type { Transaction } from '../db/resilient-pool.ts'
import { usageFact } from '../db/schema/ledgers.ts'

/** The ledger in PostgreSQL, within one transaction. */
export function createUsageLedger(tx: Transaction): UsageLedger {
  return {
    async record({ mspId, customerId, agentId }, facts) {
      if (facts.length === 0) return 0
      const rows = facts.map((fact) => ({ ...fact, mspId, customerId, agentId, at: new Date(fact.at) }))
      const added = await tx
        .insert(usageFact)
        .values(rows)
        .onConflictDoNothing()
        .returning({ factId: usageFact.factId })
      return added.length
    },
    async list({ mspId, customerId, from, to }) {
      const rows = await tx
        .select()
        .from(usageFact)
        .where(
          and(
            eq(usageFact.mspId, mspId),
            eq(usageFact.customerId, customerId),
            gte(usageFact.at, from),
            lt(usageFact.at, to),
          ),
        )
        .orderBy(asc(usageFact.at), asc(usageFact.factId))
      return rows.map(({ factId, agentId, meter, resourceId, amount, at }): RecordedFact => {
        return { factId, meter, resourceId, amount, at: at.toISOString(), mspId, customerId, agentId }
      })
    },
  }
}
