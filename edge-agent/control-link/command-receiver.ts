import type { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import type { KeyDelegation } from '@sendense/shared/contracts/signed-envelope.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { Catalogue, CatalogueTransaction } from '../catalog/catalogue.ts'
import type { AlertBook } from './alert-book.ts'
import { checkAudience, type CommandCheck, commandFacts, checkPermission } from './command-check.ts'
import type { CorrectedClock } from './corrected-clock.ts'

export interface CommandReceiverOptions {
  readonly catalogue: Catalogue
  readonly agentId: string
  readonly tenantId: string
  readonly clock: CorrectedClock
  readonly alerts: AlertBook
  readonly logger: Logger
  /** A command became durable. */
  readonly onReceived: () => void
}

/** `received` and `refused` used the number up; `repeated` was here before; `gap`: a sync, or others, must come first; `foreign`: not ours. */
export type Receipt = 'received' | 'refused' | 'repeated' | 'gap' | 'foreign'

/**
 * Takes signed commands into the durable inbox; it runs nothing. When `receive` resolves the message may be
 * acknowledged to the broker: the command is durable, refused for ever, or will be sent again.
 *
 * Before the first sync of the process nothing new is taken: it comes again.
 * Numbers must follow each other. Behind a gap nothing is taken until the cloud was asked for what is missing; passed
 * over are only the numbers before the one that the cloud then named as the next it has.
 */
export class CommandReceiver {
  readonly #options: CommandReceiverOptions
  /** Until then the clock is not the cloud's, and whether a command has expired is not known. */
  #synced = false
  /** What the cloud named as the lowest number it has behind ours. */
  #next: number | undefined

  constructor(options: CommandReceiverOptions) {
    this.#options = options
  }

  /** The cloud answered a sync: `next` is the lowest number it has behind the one that was held; undefined: none. */
  noteSynced(next: number | undefined): void {
    this.#synced = true
    this.#next = next
  }

  /** Rejects with `database.unavailable` or the signal's reason: then nothing may be acknowledged. */
  async receive(
    payload: CommandPayload,
    delegation: KeyDelegation | undefined,
    options: { readonly signal: AbortSignal },
  ): Promise<Receipt> {
    const { catalogue, agentId, tenantId, clock, alerts, logger } = this.#options
    const check: CommandCheck = { payload, delegation, agentId, tenantId, now: clock.now() }
    try {
      checkAudience(check)
    } catch (error) {
      await alerts.raise(error, 'critical', options)
      return 'foreign'
    }
    const { receipt, refusal } = await catalogue.transaction(async (tx) => await this.#take(tx, check), options)
    const fields = { commandId: payload.commandId, sequence: payload.sequence, type: payload.command.type, receipt }
    if (refusal === undefined) logger.info(fields, 'command')
    else logger.warn({ ...fields, err: refusal }, 'command refused')
    if (refusal !== undefined && !isFiller(payload)) await alerts.raise(refusal, severityOf(refusal), options)
    if (receipt === 'received') this.#options.onReceived()
    return receipt
  }

  async #take(tx: CatalogueTransaction, check: CommandCheck): Promise<{ receipt: Receipt; refusal?: PlatformError }> {
    const { payload, now } = check
    const { commandId, sequence } = payload
    const last = await tx.inbox.lastSequence()
    if ((await tx.inbox.find(commandId)) !== undefined) return { receipt: 'repeated' }
    if (sequence <= last) {
      const details = { ...commandFacts(payload), sequence, last }
      const refusal = new PlatformError(
        'command.replayed',
        `command ${commandId} has number ${sequence} after ${last}`,
        {
          details,
        },
      )
      // Reported nowhere: whoever has an old message could send it without end.
      return { receipt: 'refused', refusal }
    }
    const follows = sequence === last + 1 || sequence === this.#next
    if (!this.#synced || !follows) return { receipt: 'gap' }
    const refusal = permissionRefusal(check)
    if (refusal === undefined) {
      await tx.inbox.insert({ payload, state: 'received', receivedAt: now })
      await tx.outbox.append({ type: 'command-reported', commandId, state: 'accepted' }, now)
      return { receipt: 'received' }
    }
    await tx.inbox.insert({ payload, state: 'rejected', receivedAt: now })
    await this.#reject(tx, payload, refusal, now)
    return { receipt: 'refused', refusal }
  }

  async #reject(tx: CatalogueTransaction, { commandId }: CommandPayload, refusal: PlatformError, at: Date) {
    const error = toErrorReport(refusal)
    await tx.outbox.append({ type: 'command-reported', commandId, state: 'rejected', error }, at)
  }
}

function permissionRefusal(check: CommandCheck): PlatformError | undefined {
  try {
    checkPermission(check)
    return undefined
  } catch (error) {
    if (isPlatformError(error)) return error
    throw error
  }
}

/** A command that ended in the cloud before it was sent comes already expired, only to fill its number. */
function isFiller({ issuedAt, expiresAt }: CommandPayload): boolean {
  return Date.parse(expiresAt) <= Date.parse(issuedAt)
}

/** Late is nobody's fault; everything else that is signed and refused should not happen. */
function severityOf(refusal: PlatformError): 'warning' | 'critical' {
  return refusal.code === 'command.expired' || refusal.code === 'command.not_yet_valid' ? 'warning' : 'critical'
}
