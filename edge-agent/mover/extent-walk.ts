import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockExtent, BlockSource, CallOptions } from '../block/block-source.ts'
import { type Lane, onlyLane, stripesOf } from './lane.ts'
import { NumberQueue } from './number-queue.ts'
import type { PauseSwitch } from './pause-switch.ts'

/** Extents kept ahead of the copy at most, 8 bytes each: a disk that is cut up finer is walked as the copy goes on. */
const EXTENTS_AHEAD_MAX = 1_000_000

const SKIPPED = 0
const ZERO = 1
const DATA = 2
const CONTINUED_DATA = 3
const KINDS = 4
type Kind = typeof SKIPPED | typeof ZERO | typeof DATA | typeof CONTINUED_DATA

/** A range that a copy looks at. */
export interface PlanExtent {
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** Reads as zeros for certain. */
  readonly zero: boolean
  /** Whether the one before it ended something else: large extents come in several pieces. */
  readonly begins: boolean
}

export interface WalkOptions extends CallOptions {
  /** Where the walk begins. */
  readonly fromBytes: number
  /** Where it ends. Absent: at the end of the disk. */
  readonly toBytes?: number
  /** Only this part of the disk is looked at. Absent: all of it. */
  readonly lane?: Lane
  /** Only dirty extents are looked at. */
  readonly dirtyOnly: boolean
  /** Told of each stretch that is not zeros, as soon as it is known, and whether the one before it was another extent. */
  readonly onFound: (range: Extent, begins: boolean) => void
  /** Told when all of the disk was asked for. */
  readonly onComplete: () => void
  /** While it is paused nothing is asked. */
  readonly pause: PauseSwitch
  /** For tests. */
  readonly extentsAheadMax?: number
}

/**
 * Asks a source for its extents once, ahead of the copy that uses them: what there is to do is known long before it is
 * done, and nothing is asked twice. What was found waits as eight bytes an extent.
 */
export class ExtentWalk implements AsyncDisposable {
  readonly #source: BlockSource
  readonly #options: WalkOptions
  readonly #aheadMax: number
  readonly #stop = new AbortController()
  readonly #ended: Promise<void>
  #asking: Promise<unknown> | undefined
  /** Closed stretches, length and kind in one number each. */
  readonly #found = new NumberQueue()
  #openKind: Kind | undefined
  #openBytes = 0
  /** So far the source has answered. */
  #walkedTo: number
  #isComplete = false
  #failure: { readonly error: unknown } | undefined
  /** Who takes waits for something to come. */
  #news: PromiseWithResolvers<void> | undefined
  /** The walk waits until something was taken. */
  #room: PromiseWithResolvers<void> | undefined

  /** Begins at once. The source stays the caller's. */
  constructor(source: BlockSource, options: WalkOptions) {
    this.#source = source
    this.#options = options
    this.#walkedTo = options.fromBytes
    this.#aheadMax = options.extentsAheadMax ?? EXTENTS_AHEAD_MAX
    this.#ended = this.#walk(AbortSignal.any([options.signal, this.#stop.signal]))
  }

  /**
   * What there is to look at, in disk order, without overlaps. To be called once.
   * Rejects with what the source rejects with, or the signal's reason.
   */
  async *extents(): AsyncGenerator<PlanExtent, void, undefined> {
    let at = this.#options.fromBytes
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.error
      const next = this.#take()
      if (next === undefined) {
        if (this.#isComplete) return
        this.#news = Promise.withResolvers<void>()
        await this.#news.promise
        continue
      }
      const { kind, lengthBytes } = next
      const offsetBytes = at
      at += lengthBytes
      if (kind !== SKIPPED) yield { offsetBytes, lengthBytes, zero: kind === ZERO, begins: kind === DATA }
    }
  }

  /** Resolves when the source has answered what it was asked. While the copy is paused nothing follows. */
  async untilQuiet(): Promise<void> {
    await Promise.allSettled([this.#asking])
  }

  /** Ends the walk; resolves when nothing of it is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new PlatformError('internal.cancelled', 'the copy has ended'))
    await this.#ended
  }

  /** Never rejects. */
  async #walk(signal: AbortSignal): Promise<void> {
    try {
      const { fromBytes, toBytes = this.#source.sizeBytes, lane = onlyLane } = this.#options
      const rest = { offsetBytes: fromBytes, lengthBytes: Math.max(0, toBytes - fromBytes) }
      let at = fromBytes
      for (const stripe of stripesOf(lane, rest)) {
        this.#append(SKIPPED, stripe.offsetBytes - at)
        await this.#askAll(this.#source.extents(stripe, { signal }), signal)
        at = endOf(stripe)
      }
      this.#isComplete = true
      this.#options.onComplete()
    } catch (error) {
      this.#failure = { error }
    }
    this.#tell()
  }

  async #askAll(extents: AsyncIterable<BlockExtent>, signal: AbortSignal): Promise<void> {
    const answers = extents[Symbol.asyncIterator]()
    try {
      for (;;) {
        if (this.#found.length >= this.#aheadMax) await this.#untilRoom(signal)
        await this.#options.pause.untilRunning({ signal })
        const asking = answers.next()
        this.#asking = asking
        const next = await asking
        signal.throwIfAborted()
        if (next.done === true) return
        this.#note(next.value)
      }
    } finally {
      await answers.return?.()
    }
  }

  #note({ lengthBytes, zero, dirty }: BlockExtent): void {
    this.#append(this.#options.dirtyOnly && !dirty ? SKIPPED : zero ? ZERO : DATA, lengthBytes)
  }

  #append(kind: typeof SKIPPED | typeof ZERO | typeof DATA, lengthBytes: number): void {
    if (lengthBytes === 0) return
    const isSame = this.#openKind === kind || (this.#openKind === CONTINUED_DATA && kind === DATA)
    if (!isSame) {
      if (this.#openBytes > 0) this.#found.push(this.#openBytes * KINDS + (this.#openKind ?? SKIPPED))
      this.#openKind = kind
      this.#openBytes = 0
    }
    this.#openBytes += lengthBytes
    const range = { offsetBytes: this.#walkedTo, lengthBytes }
    this.#walkedTo += lengthBytes
    if (kind === DATA) this.#options.onFound(range, !isSame)
    this.#tell()
  }

  /** What is closed, or all that is known so far of what is not. */
  #take(): { readonly kind: Kind; readonly lengthBytes: number } | undefined {
    const packed = this.#found.shift()
    if (packed !== undefined) {
      if (this.#found.length < this.#aheadMax / 2) this.#room?.resolve()
      const kind = packed % KINDS
      return { kind: kind as Kind, lengthBytes: (packed - kind) / KINDS }
    }
    if (this.#openKind === undefined || this.#openBytes === 0) return undefined
    const taken = { kind: this.#openKind, lengthBytes: this.#openBytes }
    if (taken.kind === DATA) this.#openKind = CONTINUED_DATA
    this.#openBytes = 0
    return taken
  }

  #tell(): void {
    this.#news?.resolve()
    this.#news = undefined
  }

  async #untilRoom(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const room = Promise.withResolvers<void>()
    this.#room = room
    const onAbort = (): void => room.resolve()
    signal.addEventListener('abort', onAbort, { once: true })
    await room.promise
    signal.removeEventListener('abort', onAbort)
  }
}
