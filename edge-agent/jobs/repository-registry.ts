import type { RepositoryReport } from '@sendense/shared/contracts/inventory.ts'
import type { RateSchedule } from '@sendense/shared/domain/rate-schedule.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { RepositoryRecord } from '../catalog/repository-store.ts'
import { keepToSchedule } from '../mover/rate/scheduled-rate.ts'
import { SharedThrottle } from '../mover/rate/shared-throttle.ts'
import type { Repository } from '../repository/repository.ts'

/** A configured repository; its storage may be away when the agent starts, so it is opened when first needed. */
export interface RepositoryEntry {
  readonly record: RepositoryRecord
  /** How fast its data may be moved, all jobs together. Absent: unlimited. */
  readonly rate?: RateSchedule
  /** Rejects with `repository.*`. */
  open(options: CallOptions): Promise<Repository>
}

/** Every repository this agent was configured with. Owns the open ones. */
export class RepositoryRegistry implements AsyncDisposable {
  readonly #entries: ReadonlyMap<string, RepositoryEntry>
  readonly #throttles = new Map<string, SharedThrottle>()
  readonly #open = new Map<string, Promise<Repository>>()
  /** Opening is nobody's job: it ends with the registry, not with the job that asked first. */
  readonly #lifetime = new AbortController()
  readonly #clock: Clock
  readonly #logger: Logger

  constructor(entries: readonly RepositoryEntry[], options: { clock: Clock; logger: Logger }) {
    this.#entries = new Map(entries.map((entry) => [entry.record.repositoryId, entry]))
    this.#clock = options.clock
    this.#logger = options.logger
    for (const entry of entries) this.#throttle(entry)
  }

  records(): RepositoryRecord[] {
    return [...this.#entries.values()].map((entry) => entry.record)
  }

  /** What copies into and out of the repository keep to together; none where it has no rate. */
  throttles(repositoryId: string): SharedThrottle[] {
    const throttle = this.#throttles.get(repositoryId)
    return throttle === undefined ? [] : [throttle]
  }

  /**
   * The open repository, probed just now. Who waits for it to open waits with his own signal.
   * Rejects with `repository.missing` and whatever opening rejects with.
   */
  async get(repositoryId: string, options: CallOptions): Promise<Repository> {
    const entry = this.#entries.get(repositoryId)
    if (entry === undefined) {
      throw new PlatformError('repository.missing', `this agent has no repository ${repositoryId}`)
    }
    this.#lifetime.signal.throwIfAborted()
    options.signal.throwIfAborted()
    let opening = this.#open.get(repositoryId)
    if (opening === undefined) {
      opening = entry.open({ signal: this.#lifetime.signal })
      this.#open.set(repositoryId, opening)
      opening.catch(() => this.#open.delete(repositoryId))
    }
    const repository = await untilAborted(opening, options.signal)
    await repository.getCapacity(options)
    return repository
  }

  /** State of each, for people. Rejects only with the signal's reason. */
  async report(options: CallOptions): Promise<RepositoryReport[]> {
    return await Promise.all([...this.#entries.values()].map(async (entry) => await this.#reportOne(entry, options)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lifetime.abort(new PlatformError('internal.cancelled', 'the agent is stopping'))
    for (const opening of this.#open.values()) {
      const repository = await opening.catch(() => undefined)
      await repository?.[Symbol.asyncDispose]()
    }
    this.#open.clear()
  }

  #throttle({ record: { repositoryId }, rate }: RepositoryEntry): void {
    if (rate === undefined) return
    const throttle = new SharedThrottle()
    this.#throttles.set(repositoryId, throttle)
    const onRate = (bytesPerSecond: number | undefined): void => {
      this.#logger.info({ repositoryId, bytesPerSecond }, 'the rate of the repository is another now')
    }
    void keepToSchedule(throttle, rate, { clock: this.#clock, onRate, signal: this.#lifetime.signal })
  }

  async #reportOne({ record }: RepositoryEntry, options: CallOptions): Promise<RepositoryReport> {
    const checkedAt = this.#clock.now().toISOString()
    try {
      const repository = await this.get(record.repositoryId, options)
      return { ...record, state: 'ready', ...(await repository.getCapacity(options)), checkedAt }
    } catch (error) {
      options.signal.throwIfAborted()
      this.#logger.warn({ repositoryId: record.repositoryId, err: error }, 'repository is not ready')
      return { ...record, state: isPlatformError(error, 'repository.missing') ? 'missing' : 'failed', checkedAt }
    }
  }
}
