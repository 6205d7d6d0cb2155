import type { roles } from '@sendense/shared/contracts/api/session-api.ts'
import { pgTable, primaryKey, text, timestamp, uuid } from 'drizzle-orm/pg-core'

/*
 * The columns as queries see them. Constraints, indexes, grants and policies are in migrations/*.sql, and
 * db-catalogue.real.test.ts holds the two together.
 */
export const instant = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' })

export const msp = pgTable('msp', {
  id: uuid('id').primaryKey(),
  name: text('name').notNull(),
  createdAt: instant('created_at').notNull().defaultNow(),
})

export const customer = pgTable(
  'customer',
  {
    mspId: uuid('msp_id').notNull(),
    id: uuid('id').notNull(),
    name: text('name').notNull(),
    createdAt: instant('created_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.id] })],
)

export const site = pgTable(
  'site',
  {
    mspId: uuid('msp_id').notNull(),
    customerId: uuid('customer_id').notNull(),
    id: uuid('id').notNull(),
    name: text('name').notNull(),
    /** IANA name. */
    timeZone: text('time_zone').notNull(),
    createdAt: instant('created_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.customerId, table.id] })],
)

export const userAccount = pgTable('user_account', {
  id: uuid('id').primaryKey(),
  /** Lower case. */
  email: text('email').notNull(),
  displayName: text('display_name').notNull(),
  passwordHash: text('password_hash').notNull(),
  createdAt: instant('created_at').notNull().defaultNow(),
})

export const membership = pgTable(
  'membership',
  {
    mspId: uuid('msp_id').notNull(),
    id: uuid('id').notNull(),
    userId: uuid('user_id').notNull(),
    role: text('role').$type<(typeof roles)[number]>().notNull(),
    scope: text('scope').$type<'all' | 'listed'>().notNull(),
    /** Empty where `scope` is `all`. */
    customerIds: uuid('customer_ids').array().notNull().default([]),
    createdAt: instant('created_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.id] })],
)

export const session = pgTable('session', {
  /** SHA-256 of the session id, hexadecimal. */
  idHash: text('id_hash').primaryKey(),
  userId: uuid('user_id').notNull(),
  mspId: uuid('msp_id').notNull(),
  membershipId: uuid('membership_id').notNull(),
  createdAt: instant('created_at').notNull().defaultNow(),
  expiresAt: instant('expires_at').notNull(),
})
