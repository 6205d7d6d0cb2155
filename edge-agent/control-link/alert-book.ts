import type { AlertSeverity } from '@sendense/shared/domain/alert-severity.ts'
import { PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { Catalogue } from '../catalog/catalogue.ts'

const REPEAT_AFTER_MS = 60_000

/** Raises alerts, one a minute of each code: a stranger who sends a thousand forged messages makes no thousand rows. */
export class AlertBook {
  readonly #options: { catalogue: Catalogue; clock: Clock; logger: Logger; newId: () => string }
  readonly #lastMs = new Map<string, { readonly atMs: number; readonly withheld: number }>()

  constructor(options: { catalogue: Catalogue; clock: Clock; logger: Logger; newId: () => string }) {
    this.#options = options
  }

  async raise(error: unknown, severity: AlertSeverity, options: { readonly signal: AbortSignal }): Promise<void> {
    const { catalogue, clock, logger, newId } = this.#options
    const known = toPlatformError(error)
    const at = clock.now()
    const last = this.#lastMs.get(known.code)
    if (last !== undefined && at.getTime() - last.atMs < REPEAT_AFTER_MS) {
      this.#lastMs.set(known.code, { ...last, withheld: last.withheld + 1 })
      return
    }
    this.#lastMs.set(known.code, { atMs: at.getTime(), withheld: 0 })
    logger.warn({ err: known, severity }, 'alert')
    const withheld = last === undefined || last.withheld === 0 ? {} : { withheldBefore: last.withheld }
    const told = new PlatformError(known.code, known.message, { details: { ...withheld, ...known.details } })
    const event = { type: 'alert-raised', alertId: newId(), severity, error: toErrorReport(told) } as const
    await catalogue.transaction(async (tx) => await tx.outbox.append(event, at), options)
  }
}
