import type { UsageMeter } from '@sendense/shared/contracts/usage-fact.ts'
import { bigint, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { instant } from './tenancy.ts'

/** Append only; (agent, fact) counts once. */
export const usageFact = pgTable(
  'usage_fact',
  {
    mspId: uuid('msp_id').notNull(),
    customerId: uuid('customer_id').notNull(),
    agentId: uuid('agent_id').notNull(),
    factId: uuid('fact_id').notNull(),
    meter: text('meter').$type<UsageMeter>().notNull(),
    resourceId: uuid('resource_id').notNull(),
    amount: bigint('amount', { mode: 'number' }).notNull(),
    at: instant('at').notNull(),
    receivedAt: instant('received_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.agentId, table.factId] })],
)

/** Newest link of each MSP's chain of audit entries. */
export const auditHead = pgTable('audit_head', {
  mspId: uuid('msp_id').primaryKey(),
  sequence: bigint('sequence', { mode: 'number' }).notNull(),
  hash: text('hash').notNull(),
})

export const auditEntry = pgTable(
  'audit_entry',
  {
    mspId: uuid('msp_id').notNull(),
    sequence: bigint('sequence', { mode: 'number' }).notNull(),
    /** Null: it concerns the whole MSP. */
    customerId: uuid('customer_id'),
    at: instant('at').notNull(),
    actor: text('actor').notNull(),
    action: text('action').notNull(),
    /** The exact text the hash was taken over. */
    entry: text('entry').notNull(),
    previousHash: text('previous_hash').notNull(),
    hash: text('hash').notNull(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.sequence] })],
)
