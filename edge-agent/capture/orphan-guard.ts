import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { HostedVm, VmHost } from '../platforms/kvm/vm-host.ts'
import type { SourceConnector } from '../platforms/source-connector.ts'

/** Longer than any edge agent's patience (`PATIENCE_MS`): until then a backup may still go on. */
export const ORPHANED_AFTER_MS = 120_000
const CHECK_EVERY_MS = 5000

export interface OrphanGuardOptions {
  readonly host: VmHost
  /** Of this host alone. */
  readonly connector: Pick<SourceConnector, 'clearSessions'>
  readonly clock: Clock
  readonly logger: Logger
  /** Free space below which nothing is left to an edge agent that is away. */
  readonly minFreeBytes: number
  /** Called at each check while nobody has come back for too long. */
  readonly onOrphaned: () => Promise<void>
  readonly orphanedAfterMs?: number
  readonly checkEveryMs?: number
}

/**
 * Looks after backup sessions whose edge agent is away. The guests go on writing, so old data piles up beside their
 * disks: when nobody has come back for too long, or the room gets short, the sessions are cleared as the edge agent would.
 */
export class OrphanGuard implements AsyncDisposable {
  readonly #options: OrphanGuardOptions
  readonly #over = new AbortController()
  readonly #watching: Promise<void>
  #agents = 0
  #aloneSinceMs: number

  constructor(options: OrphanGuardOptions) {
    this.#options = options
    this.#aloneSinceMs = options.clock.now().getTime()
    this.#watching = this.#watch()
  }

  /** How many connections of the edge agent there are now. */
  setAgents(count: number): void {
    if (this.#agents > 0 && count === 0) this.#aloneSinceMs = this.#options.clock.now().getTime()
    this.#agents = count
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort(new Error('the capture agent ends'))
    await this.#watching
  }

  async #watch(): Promise<void> {
    const { clock, checkEveryMs = CHECK_EVERY_MS, logger } = this.#options
    const { signal } = this.#over
    while (!signal.aborted) {
      await clock.sleep(checkEveryMs, { signal }).catch(() => {})
      if (signal.aborted || this.#agents > 0) continue
      await this.#check(signal).catch((error: unknown) => {
        if (!signal.aborted) logger.error({ err: error }, 'what an edge agent left behind cannot be looked after')
      })
    }
  }

  async #check(signal: AbortSignal): Promise<void> {
    const { host } = this.#options
    const left = (await host.listVms({ signal })).filter(({ scratchFiles }) => scratchFiles.length > 0)
    for (const vm of left) if (await this.#isOrphan(vm, signal)) await this.#clear(vm, signal)
    if (this.#isForsaken()) await this.#options.onOrphaned()
  }

  #isForsaken(): boolean {
    const { clock, orphanedAfterMs = ORPHANED_AFTER_MS } = this.#options
    return this.#agents === 0 && clock.now().getTime() - this.#aloneSinceMs >= orphanedAfterMs
  }

  async #isOrphan({ config }: HostedVm, signal: AbortSignal): Promise<boolean> {
    const { host, minFreeBytes } = this.#options
    const { freeBytes } = await host.measureSpace(config.vmId, { signal })
    if (this.#agents > 0) return false
    return freeBytes < minFreeBytes || this.#isForsaken()
  }

  async #clear({ config: { vmId, name } }: HostedVm, signal: AbortSignal): Promise<void> {
    const { connector, logger } = this.#options
    logger.warn({ vmId, name }, 'the edge agent is away: what its backup left is cleared')
    await connector.clearSessions(vmId, { signal })
  }
}
