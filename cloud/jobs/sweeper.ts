import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { and, eq, inArray, isNull, lt, or, sql } from 'drizzle-orm'
import type { Database, SystemTransaction } from '../db/database.ts'
import { command, commandOutbox } from '../db/schema/fleet.ts'
import { job } from '../db/schema/protection.ts'
import { moveCommand } from '../fleet/command-queue.ts'
import type { LiveBus } from '../live/live-bus.ts'

const EVERY_MS = 15_000
/** Any constant: one node sweeps at a time. */
const LOCK_KEY = 5_130_442
const COMMANDS_PER_SWEEP = 500
/** A command that was sent may have been accepted in time and not heard of yet. */
const SENT_GRACE_MS = 15 * 60_000

export interface Sweeper extends AsyncDisposable {
  /** One round, now. Rejects with `database.unavailable`. */
  sweep(): Promise<void>
}

/**
 * Expires commands nobody took, removes sessions that ended, and nudges agents for whom something waits.
 * A plain interval with an advisory lock: the work is three statements without parameters, which a job
 * queue with tables and a role of its own would not make safer.
 */
export function startSweeper(options: {
  database: Database
  live: LiveBus
  deleteExpiredSessions: () => Promise<void>
  nudge: (agentId: string) => void
  now: () => Date
  logger: Logger
}): Sweeper {
  let running: Promise<void> | undefined
  const sweep = async (): Promise<void> => {
    const waiting = await options.database.withSystem('sweep', async (tx) => {
      const locks = await tx.execute(sql`select pg_try_advisory_xact_lock(${LOCK_KEY}) as locked`)
      if (locks[0]?.['locked'] === true) await expireCommands(tx, options.live, options.now())
      return await tx.selectDistinct({ agentId: commandOutbox.agentId }).from(commandOutbox)
    })
    for (const { agentId } of waiting) options.nudge(agentId)
    await options.deleteExpiredSessions()
  }
  const timer = setInterval(() => {
    running ??= sweep()
      .catch((error: unknown) => options.logger.warn({ err: error }, 'a sweep failed'))
      .finally(() => {
        running = undefined
      })
  }, EVERY_MS)
  return {
    sweep,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await running
    },
  }
}

async function expireCommands(tx: SystemTransaction, live: LiveBus, now: Date): Promise<void> {
  const neverSent = and(eq(command.state, 'queued'), lt(command.expiresAt, now))
  const sentBefore = new Date(now.getTime() - SENT_GRACE_MS)
  const sent = and(eq(command.state, 'published'), lt(command.expiresAt, sentBefore))
  const rows = await tx.select().from(command).where(or(neverSent, sent)).limit(COMMANDS_PER_SWEEP)
  const report = toErrorReport(
    new PlatformError('command.expired', 'the agent was not there while the order was valid'),
  )
  for (const row of rows) {
    if (!(await moveCommand(tx, row.id, 'expired', report)) || row.jobId === null || row.type === 'cancel-job') continue
    const [ended] = await tx
      .update(job)
      .set({ state: 'failed', endedByCloud: true, endedAt: now, error: report })
      .where(
        and(eq(job.mspId, row.mspId), eq(job.id, row.jobId), inArray(job.state, ['queued']), isNull(job.startedAt)),
      )
      .returning({ jobId: job.id, vmId: job.vmId, state: job.state })
    if (ended !== undefined) live.publish(row, { type: 'job-changed', ...ended })
  }
}
