import { type AgentCommand, commandClassOf } from '@sendense/shared/contracts/agent-command.ts'
import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { canCommandMove, type CommandState } from '@sendense/shared/domain/command-state.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { and, eq, sql } from 'drizzle-orm'
import type { SystemTransaction, TenantTransaction } from '../db/database.ts'
import { agent, command, commandOutbox } from '../db/schema/fleet.ts'

const HOUR_MS = 3_600_000

/** How long each command may wait for its agent. Expired ones are still delivered, and do nothing. */
const lifetimeMs: { readonly [T in AgentCommand['type']]: number } = {
  'refresh-inventory': HOUR_MS / 4,
  'backup-vm': 24 * HOUR_MS,
  'restore-vm': 24 * HOUR_MS,
  'verify-restore-point': 24 * HOUR_MS,
  'cancel-job': 48 * HOUR_MS,
}

/**
 * Writes a command and its outbox row. The agent's row is locked until the transaction ends, so that
 * sequences have no gaps and no order but that of commits. The caller nudges the link after the commit.
 * Rejects with `agent.not_found` where the tenant has no such agent.
 */
export async function enqueueCommand(
  tx: TenantTransaction,
  order: { agentId: string; body: AgentCommand; jobId?: string; now: Date },
): Promise<{ commandId: string }> {
  const { agentId, body, now } = order
  const [owner] = await tx
    .update(agent)
    .set({ commandSequence: sql`${agent.commandSequence} + 1` })
    .where(eq(agent.id, agentId))
    .returning({ mspId: agent.mspId, customerId: agent.customerId, sequence: agent.commandSequence })
  if (owner === undefined) throw new PlatformError('agent.not_found', `agent ${agentId} is not there`)
  const tenant = { mspId: owner.mspId, customerId: owner.customerId }
  const commandId = newId(now)
  await tx.insert(command).values({
    ...tenant,
    id: commandId,
    agentId,
    sequence: owner.sequence,
    type: body.type,
    class: commandClassOf[body.type],
    body,
    jobId: order.jobId ?? null,
    state: 'queued',
    issuedAt: now,
    notBefore: now,
    expiresAt: new Date(now.getTime() + lifetimeMs[body.type]),
  })
  await tx.insert(commandOutbox).values({ ...tenant, commandId, agentId, sequence: owner.sequence })
  return { commandId }
}

/**
 * Moves a command on where its table of states allows it; the version guards against a change in between.
 * @returns false where it stays as it is
 */
export async function moveCommand(
  tx: TenantTransaction | SystemTransaction,
  commandId: string,
  to: CommandState,
  error?: ErrorReport,
): Promise<boolean> {
  const [row] = await tx
    .select({ state: command.state, version: command.version })
    .from(command)
    .where(eq(command.id, commandId))
  if (row === undefined || !canCommandMove(row.state, to)) return false
  const moved = await tx
    .update(command)
    .set({ state: to, version: row.version + 1, ...(error === undefined ? {} : { error }) })
    .where(and(eq(command.id, commandId), eq(command.version, row.version)))
    .returning({ id: command.id })
  return moved.length === 1
}
