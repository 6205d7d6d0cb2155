import type { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'

export interface QmpEvent {
  readonly name: string
  readonly data: Readonly<Record<string, unknown>>
}

export interface QmpCallOptions extends CallOptions {
  /** 30 s unless given. */
  readonly timeoutMs?: number
  /**
   * The command said twice does what it does once, or is refused the second time and the caller knows why: it may be
   * sent again when its answer was lost with the connection. Queries always are.
   */
  readonly repeatable?: boolean
}

export interface QmpListener {
  event(event: QmpEvent): void
  /** The connection was lost and is back: events in between were missed. */
  resumed?(): void
}

/** A way to one QEMU's monitor: a connection (`QmpClient`), or one that is dialled again when it is lost (`LastingQmp`). */
export interface QmpConnection {
  /** Aborts when the connection is gone for good; its reason says why. */
  readonly closed: AbortSignal
  /**
   * Runs one command; several may be under way.
   * Rejects with `qemu.command_failed` (details.class, details.command), `qemu.disconnected`, `qemu.timeout`,
   * `source.protocol_violation` when the answer is not as `answer` says, or the signal's reason. After a timeout,
   * an abort or a lost connection the command may still take effect.
   */
  execute<T>(command: string, args: object, answer: z.ZodType<T>, options: QmpCallOptions): Promise<T>
  /** Calls `listener` from now on, until disposed. It must not throw. */
  subscribe(listener: QmpListener): Disposable
}
