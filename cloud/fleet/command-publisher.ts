import { AgentCommand, type CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import { topics } from '@sendense/shared/contracts/topics.ts'
import { type CommandState, isFinalCommandState } from '@sendense/shared/domain/command-state.ts'
import { and, asc, eq, gt, inArray, isNull, lt, or, sql } from 'drizzle-orm'
import type { Database, SystemTransaction } from '../db/database.ts'
import { command, commandOutbox } from '../db/schema/fleet.ts'
import { type KnownAgent, tenantOf } from './agent-directory.ts'
import type { CloudSigner } from './cloud-signer.ts'
import { moveCommand } from './command-queue.ts'

const COMMANDS_PER_ROUND = 200
/** The agent has said nothing of a command for so long: it is sent again, which does no harm. */
const SEND_AGAIN_MS = 60_000

/** Resolves once the broker has it. */
export type Publish = (topic: string, payload: string) => Promise<void>

/**
 * Sends an agent its commands in order. One call at a time per agent: the caller sees to that. A command
 * that is over goes out already expired, so that its number is filled and nothing is run.
 */
export interface CommandPublisher {
  /**
   * Where one was never sent, or sent long ago and nothing was heard of it: all that nothing was heard of, so that
   * one that got lost on the way is not behind those that follow it.
   */
  publishWaiting(known: KnownAgent, publish: Publish): Promise<void>
  /** All after `sequence`, sent or not: the agent asked. */
  publishAfter(known: KnownAgent, sequence: number, publish: Publish): Promise<void>
}

type CommandRow = typeof command.$inferSelect

export function createCommandPublisher(options: {
  database: Database
  signer: CloudSigner
  now: () => Date
}): CommandPublisher {
  const { database, signer, now } = options
  const send = async (known: KnownAgent, rows: readonly CommandRow[], publish: Publish): Promise<void> => {
    const within = { within: tenantOf(known) }
    for (const { id } of rows) {
      const row = await database.withSystem('begin to send a command', (tx) => claim(tx, id), within)
      await publish(topics.commands(known.agentId), signer.sign(payloadOf(row)))
      await database.withSystem('note a command as sent', (tx) => markPublished(tx, id, now()), within)
    }
  }
  return {
    async publishWaiting(known, publish) {
      const within = { within: tenantOf(known) }
      const staleBefore = new Date(now().getTime() - SEND_AGAIN_MS)
      if (!(await database.withSystem('look for due commands', (tx) => isAnyDue(tx, known, staleBefore), within)))
        return
      for (let last = 0; ;) {
        const rows = await database.withSystem('read waiting commands', (tx) => listWaiting(tx, known, last), within)
        await send(known, rows, publish)
        if (rows.length < COMMANDS_PER_ROUND) return
        last = rows.at(-1)?.sequence ?? last
      }
    },
    async publishAfter(known, sequence, publish) {
      let last = sequence
      for (;;) {
        const rows = await database.withSystem(
          'read missing commands',
          (tx) =>
            tx
              .select()
              .from(command)
              .where(and(eq(command.agentId, known.agentId), gt(command.sequence, last)))
              .orderBy(asc(command.sequence))
              .limit(COMMANDS_PER_ROUND),
          { within: tenantOf(known) },
        )
        await send(known, rows, publish)
        if (rows.length < COMMANDS_PER_ROUND) return
        last = rows.at(-1)?.sequence ?? last
      }
    },
  }
}

async function isAnyDue(tx: SystemTransaction, known: KnownAgent, staleBefore: Date): Promise<boolean> {
  const due = or(isNull(commandOutbox.publishedAt), lt(commandOutbox.publishedAt, staleBefore))
  const isDueHere = and(eq(commandOutbox.agentId, known.agentId), due)
  return (await tx.select({ id: commandOutbox.commandId }).from(commandOutbox).where(isDueHere).limit(1)).length > 0
}

async function listWaiting(tx: SystemTransaction, known: KnownAgent, after: number): Promise<CommandRow[]> {
  const rows = await tx
    .select({ command })
    .from(commandOutbox)
    .innerJoin(
      command,
      and(
        eq(command.mspId, commandOutbox.mspId),
        eq(command.customerId, commandOutbox.customerId),
        eq(command.id, commandOutbox.commandId),
      ),
    )
    .where(and(eq(commandOutbox.agentId, known.agentId), gt(commandOutbox.sequence, after)))
    .orderBy(asc(commandOutbox.sequence))
    .limit(COMMANDS_PER_ROUND)
  return rows.map((row) => row.command)
}

/**
 * The command as it stands, from now on published: who cancels it later asks the agent. One that was cancelled since
 * it was listed comes back cancelled.
 */
async function claim(tx: SystemTransaction, commandId: string): Promise<CommandRow> {
  await moveCommand(tx, commandId, 'published')
  const [row] = await tx.select().from(command).where(eq(command.id, commandId))
  if (row === undefined) throw new Error(`command ${commandId} is gone`)
  return row
}

async function markPublished(tx: SystemTransaction, commandId: string, now: Date): Promise<void> {
  await tx
    .update(commandOutbox)
    .set({ publishedAt: now, attempts: sql`${commandOutbox.attempts} + 1` })
    .where(eq(commandOutbox.commandId, commandId))
}

/** Over, or given up here: an agent that lost its memory and asks for it again must not run it again. */
const isOver = (state: CommandState): boolean =>
  isFinalCommandState(state) || state === 'expired' || state === 'unknown'

function payloadOf(row: CommandRow): CommandPayload {
  const expiresAt = isOver(row.state) ? row.issuedAt : row.expiresAt
  return {
    kind: 'command',
    version: 1,
    commandId: row.id,
    agentId: row.agentId,
    tenantId: row.customerId,
    sequence: row.sequence,
    class: row.class,
    issuedAt: row.issuedAt.toISOString(),
    notBefore: row.notBefore.toISOString(),
    expiresAt: expiresAt.toISOString(),
    command: AgentCommand.parse(row.body),
  }
}

/** Removes what the agent holds from the outbox and notes it as sent. */
export async function settleHeld(
  tx: Parameters<Parameters<Database['withSystem']>[1]>[0],
  known: KnownAgent,
  heldSequence: number,
): Promise<void> {
  const settled = await tx
    .delete(commandOutbox)
    .where(and(eq(commandOutbox.agentId, known.agentId), lt(commandOutbox.sequence, heldSequence + 1)))
    .returning({ commandId: commandOutbox.commandId })
  const ids = settled.map((row) => row.commandId)
  if (ids.length === 0) return
  await tx
    .update(command)
    .set({ state: 'published', version: sql`${command.version} + 1` })
    .where(and(inArray(command.id, ids), eq(command.state, 'queued')))
}
