import type { AgentCommand } from '@sendense/shared/contracts/agent-command.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { InboxEntry } from '../catalog/command-inbox.ts'
import { isInvariantError } from '../jobs/job-changes.ts'
import { backupVm } from './backup-vm.ts'
import { cancelJob } from './cancel-job.ts'
import type { CommandContext } from './command-context.ts'
import type { CommandHandler, ReceivedCommand } from './command-handler.ts'
import { refreshInventory } from './refresh-inventory.ts'
import { restoreVm } from './restore-vm.ts'
import { verifyRestorePoint } from './verify-restore-point.ts'

const READ_AT_ONCE = 100
/** No handler does the work itself: what takes longer is a job. */
const HANDLER_TIMEOUT_MS = 2 * 60_000

/** One handler per command type. The mapped type makes a missing handler a compile error. */
const handlers: { readonly [T in AgentCommand['type']]: CommandHandler<T> } = {
  'refresh-inventory': refreshInventory,
  'backup-vm': backupVm,
  'restore-vm': restoreVm,
  'verify-restore-point': verifyRestorePoint,
  'cancel-job': cancelJob,
}

/** Runs what the inbox holds, one command after the other, in the order of their sequences. */
export class CommandDispatcher {
  readonly #context: CommandContext
  #running: Promise<void> | undefined
  #again = false

  constructor(context: CommandContext) {
    this.#context = context
  }

  /** Looks at the inbox now; returns at once. Commands that a dead process had not finished are run again. */
  nudge({ signal }: CallOptions): void {
    if (this.#running !== undefined) {
      this.#again = true
      return
    }
    this.#running = this.runWaiting({ signal })
      .catch((error: unknown) => {
        if (isInvariantError(error)) throw error
        if (!signal.aborted) this.#context.logger.error({ err: error }, 'the inbox could not be worked on')
      })
      .finally(() => {
        this.#running = undefined
        if (!this.#again || signal.aborted) return
        this.#again = false
        this.nudge({ signal })
      })
  }

  /** Resolves when the inbox holds nothing that waits. */
  async runWaiting({ signal }: CallOptions): Promise<void> {
    const { catalogue } = this.#context
    for (;;) {
      const waiting = await catalogue.transaction(async (tx) => await tx.inbox.listReceived(READ_AT_ONCE), { signal })
      if (waiting.length === 0) return
      for (const entry of waiting) await this.#run(entry, { signal })
    }
  }

  /** Resolves when what runs now has ended. */
  async settle(): Promise<void> {
    await this.#running
  }

  async #run({ payload }: InboxEntry, { signal }: CallOptions): Promise<void> {
    const { catalogue, clock, logger } = this.#context
    const { commandId, command } = payload
    const deadline = AbortSignal.timeout(HANDLER_TIMEOUT_MS)
    try {
      const outcome = await handle(command.type, { commandId, command }, this.#context, {
        signal: AbortSignal.any([signal, deadline]),
      })
      if (outcome === 'dispatched') return
      await catalogue.transaction(
        async (tx) => {
          await tx.inbox.setState(commandId, 'succeeded')
          await tx.outbox.append({ type: 'command-reported', commandId, state: 'succeeded' }, clock.now())
        },
        { signal },
      )
    } catch (error) {
      signal.throwIfAborted()
      if (isInvariantError(error)) throw error
      const known = deadline.aborted
        ? new PlatformError('internal.unexpected', `command ${command.type} took too long`, { cause: error })
        : error
      logger.warn({ commandId, type: command.type, err: known }, 'command failed')
      const report = toErrorReport(known)
      await catalogue.transaction(
        async (tx) => {
          await tx.inbox.setState(commandId, 'failed')
          await tx.outbox.append({ type: 'command-reported', commandId, state: 'failed', error: report }, clock.now())
        },
        { signal },
      )
    }
  }
}

async function handle<T extends AgentCommand['type']>(
  type: T,
  received: ReceivedCommand<T>,
  context: CommandContext,
  options: CallOptions,
): Promise<'done' | 'dispatched'> {
  return await handlers[type](received, context, options)
}
