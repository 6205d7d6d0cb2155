import { BroadcastChannel } from 'node:worker_threads'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { isPackId } from '../format/identity-bytes.ts'
import { packSizeBytesOf } from '../format/index-delta.ts'
import { parseDirectory } from '../format/pack-directory.ts'
import type { CataloguedPack } from '../index/pack-catalogue.ts'

const PackId = z.string().refine(isPackId)

/** What goes between a session and the threads that write for it. */
const Message = z.discriminatedUnion('type', [
  /** A pack is durable. */
  z.strictObject({
    type: z.literal('durable'),
    diskId: z.string(),
    packId: PackId,
    generation: z.int().nonnegative(),
    epoch: z.int().positive(),
    directory: z.custom<Uint8Array>((value) => value instanceof Uint8Array),
    lockedUntil: z.date().optional(),
  }),
  /** The session counts it. */
  z.strictObject({ type: z.literal('counted'), packId: PackId }),
  /** The session has ended: nothing counts any more. */
  z.strictObject({ type: z.literal('ended'), why: z.string() }),
])
type Message = z.infer<typeof Message>

/** Hears in the session's thread of the packs that others made durable for it. */
export class PackReports implements Disposable {
  readonly #channel: BroadcastChannel

  /**
   * @param name unique for each session
   * @param onPack must not throw but where the session cannot go on
   */
  constructor(name: string, onPack: (diskId: string, pack: CataloguedPack) => void) {
    this.#channel = new BroadcastChannel(name)
    this.#channel.unref()
    this.#channel.addEventListener('message', (event) => {
      const message = parseMessage(event)
      if (message?.type !== 'durable') return
      const { diskId, packId, generation, epoch, lockedUntil } = message
      const directory = parseDirectory(message.directory, undefined, { packId })
      const lock = lockedUntil === undefined ? {} : { lockedUntil }
      onPack(diskId, { packId, generation, epoch, directory, sizeBytes: packSizeBytesOf(directory), ...lock })
      post(this.#channel, { type: 'counted', packId })
    })
  }

  /** Everybody who writes for the session fails. */
  end(why: string): void {
    post(this.#channel, { type: 'ended', why })
  }

  [Symbol.dispose](): void {
    this.end('the session was closed')
    this.#channel.close()
  }
}

/** Tells a session of packs, from another thread. */
export class PackReporter implements Disposable {
  readonly #channel: BroadcastChannel
  readonly #diskId: string
  readonly #waiting = new Map<string, PromiseWithResolvers<void>>()
  readonly #ended = new AbortController()

  constructor(name: string, diskId: string) {
    this.#diskId = diskId
    this.#channel = new BroadcastChannel(name)
    this.#channel.unref()
    this.#channel.addEventListener('message', (event) => {
      const message = parseMessage(event)
      if (message?.type === 'counted') this.#waiting.get(message.packId)?.resolve()
      if (message?.type === 'ended') this.#end(message.why)
    })
  }

  /** Aborts when the session has ended. */
  get ended(): AbortSignal {
    return this.#ended.signal
  }

  /** Resolves when the session counts the pack; rejects when it has ended. */
  async report({ packId, generation, epoch, directory, lockedUntil }: CataloguedPack): Promise<void> {
    this.#ended.signal.throwIfAborted()
    const counted = Promise.withResolvers<void>()
    this.#waiting.set(packId, counted)
    const lock = lockedUntil === undefined ? {} : { lockedUntil }
    const facts = { packId, generation, epoch, directory: directory.bytes, ...lock }
    post(this.#channel, { type: 'durable', diskId: this.#diskId, ...facts })
    try {
      await counted.promise
    } finally {
      this.#waiting.delete(packId)
    }
  }

  [Symbol.dispose](): void {
    this.#end('the disk was closed')
    this.#channel.close()
  }

  #end(why: string): void {
    if (this.#ended.signal.aborted) return
    const error = new PlatformError('repository.lease_lost', `nothing is written to the repository any more: ${why}`)
    this.#ended.abort(error)
    for (const { reject } of this.#waiting.values()) reject(error)
  }
}

function parseMessage(event: unknown): Message | undefined {
  return z.object({ data: Message }).safeParse(event).data?.data
}

function post(channel: BroadcastChannel, message: Message): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel of threads, not a window
  channel.postMessage(message)
}
