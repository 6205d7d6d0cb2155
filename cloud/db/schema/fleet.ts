import type { AgentCommand, CommandClass } from '@sendense/shared/contracts/agent-command.ts'
import type { CommandState } from '@sendense/shared/domain/command-state.ts'
import { bigint, integer, jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { instant } from './tenancy.ts'

const tenant = { mspId: uuid('msp_id').notNull(), customerId: uuid('customer_id').notNull() }
const count = (name: string) => bigint(name, { mode: 'number' })

export const agent = pgTable(
  'agent',
  {
    ...tenant,
    siteId: uuid('site_id').notNull(),
    id: uuid('id').notNull(),
    hostname: text('hostname').notNull(),
    agentVersion: text('agent_version').notNull(),
    /** Ed25519 public key, SPKI DER, base64. */
    identityKey: text('identity_key').notNull(),
    protocolMin: integer('protocol_min').notNull(),
    protocolMax: integer('protocol_max').notNull(),
    capabilities: jsonb('capabilities').notNull().default([]),
    enrolledAt: instant('enrolled_at').notNull().defaultNow(),
    certificateExpiresAt: instant('certificate_expires_at').notNull(),
    revokedAt: instant('revoked_at'),
    lastSeenAt: instant('last_seen_at'),
    clockOffsetMs: integer('clock_offset_ms'),
    /** With `syncSequence`: the newest sync that was taken in. */
    bootEpoch: count('boot_epoch').notNull().default(0),
    syncSequence: count('sync_sequence').notNull().default(0),
    /** Events up to here are durable in this database. */
    eventHighMark: count('event_high_mark').notNull().default(0),
    /** Highest command sequence given out. */
    commandSequence: count('command_sequence').notNull().default(0),
    /** Highest command sequence the agent said it holds. */
    commandSequenceHeld: count('command_sequence_held').notNull().default(0),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.customerId, table.id] })],
)

export const enrolmentToken = pgTable(
  'enrolment_token',
  {
    ...tenant,
    siteId: uuid('site_id').notNull(),
    id: uuid('id').notNull(),
    /** SHA-256 of the token, hexadecimal. */
    tokenHash: text('token_hash').notNull(),
    createdBy: text('created_by').notNull(),
    createdAt: instant('created_at').notNull().defaultNow(),
    expiresAt: instant('expires_at').notNull(),
    consumedAt: instant('consumed_at'),
    identityKey: text('identity_key'),
    agentId: uuid('agent_id'),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.customerId, table.id] })],
)

export const command = pgTable(
  'command',
  {
    ...tenant,
    id: uuid('id').notNull(),
    agentId: uuid('agent_id').notNull(),
    sequence: count('sequence').notNull(),
    type: text('type').$type<AgentCommand['type']>().notNull(),
    class: text('class').$type<CommandClass>().notNull(),
    body: jsonb('body').notNull(),
    jobId: uuid('job_id'),
    state: text('state').$type<CommandState>().notNull(),
    /** Grows by one with every change of state. */
    version: integer('version').notNull().default(0),
    issuedAt: instant('issued_at').notNull(),
    notBefore: instant('not_before').notNull(),
    expiresAt: instant('expires_at').notNull(),
    error: jsonb('error'),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.customerId, table.id] })],
)

export const commandOutbox = pgTable(
  'command_outbox',
  {
    ...tenant,
    commandId: uuid('command_id').notNull(),
    agentId: uuid('agent_id').notNull(),
    sequence: count('sequence').notNull(),
    attempts: integer('attempts').notNull().default(0),
    publishedAt: instant('published_at'),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.customerId, table.commandId] })],
)

export const agentEvent = pgTable(
  'agent_event',
  {
    ...tenant,
    agentId: uuid('agent_id').notNull(),
    sequence: count('sequence').notNull(),
    bootEpoch: count('boot_epoch').notNull(),
    type: text('type').notNull(),
    at: instant('at').notNull(),
    /** `applied`, or the code of the reason why it was refused. */
    outcome: text('outcome').notNull(),
    receivedAt: instant('received_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.customerId, table.agentId, table.sequence] })],
)
