import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
} from '../wire/nbd-constants.ts'
import type { NbdSession } from './handshake.ts'
import type { NbdAnswer, NbdRequest } from './in-flight-request.ts'
import type { NbdRequester } from './nbd-requester.ts'

interface Pending {
  readonly request: NbdRequest
  readonly resolve: (answer: NbdAnswer) => void
  readonly reject: (error: unknown) => void
}

/** A server that keeps writes in a cache until it is flushed, and its export; connections to it are driven by hand. */
export class SimulatedExport {
  /** What survives a crash. */
  readonly durable: Uint8Array
  /** What reads see. */
  readonly current: Uint8Array
  readonly connections = new Set<SimulatedConnection>()
  session: NbdSession
  /** Attempts to connect that are still to fail. */
  refusals = 0
  dialCount = 0

  constructor(sizeBytes: number, flags = NBD_FLAG_CAN_MULTI_CONN) {
    this.durable = new Uint8Array(sizeBytes)
    this.current = new Uint8Array(sizeBytes)
    this.session = {
      sizeBytes,
      flags: NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | flags,
      blockSizes: { minimumBytes: 1, preferredBytes: 4096, maximumBytes: 65_536 },
      replyStyle: 'structured',
      contextIds: new Map([['base:allocation', 1]]),
    }
  }

  async dial({
    signal,
    onLost,
  }: {
    signal: AbortSignal
    onLost: (error: PlatformError) => void
  }): Promise<NbdRequester> {
    this.dialCount += 1
    await Promise.resolve()
    signal.throwIfAborted()
    if (this.refusals > 0) {
      this.refusals -= 1
      throw new PlatformError('nbd.disconnected', 'simulated: nobody listens')
    }
    return new SimulatedConnection(this, this.session, onLost)
  }

  /** The machine of the server fails: of what was not flushed, only what `survives` says is kept, byte by byte. */
  crash(survives: () => boolean): void {
    for (const connection of this.connections) connection.cut()
    for (const [at, byte] of this.current.entries()) {
      if (this.durable[at] === byte) continue
      if (survives()) this.durable[at] = byte
      else this.current[at] = this.durable[at] ?? 0
    }
  }

  /** The requests that wait for an answer, on all connections. */
  get waitingCount(): number {
    let count = 0
    for (const connection of this.connections) count += connection.pending.length
    return count
  }
}

export class SimulatedConnection implements NbdRequester {
  readonly session: NbdSession
  readonly pending: Pending[] = []
  readonly #server: SimulatedExport
  readonly #onLost: (error: PlatformError) => void
  #failure: PlatformError | undefined

  constructor(server: SimulatedExport, session: NbdSession, onLost: (error: PlatformError) => void) {
    this.#server = server
    this.session = session
    this.#onLost = onLost
    server.connections.add(this)
  }

  async request(request: NbdRequest): Promise<NbdAnswer> {
    if (this.#failure !== undefined) throw this.#failure
    const { promise, resolve, reject } = Promise.withResolvers<NbdAnswer>()
    this.pending.push({ request, resolve, reject })
    return await promise
  }

  /** Does what one of the waiting requests asks for and answers it. */
  answer(index: number): void {
    const [pending] = this.pending.splice(index, 1)
    if (pending === undefined) return
    const { command, commandFlags = 0, offsetBytes, lengthBytes, into, payload } = pending.request
    const { current, durable } = this.#server
    const end = offsetBytes + lengthBytes
    if (command === NBD_CMD_READ) into?.set(current.subarray(offsetBytes, end))
    if (command === NBD_CMD_WRITE) current.set(payload ?? [], offsetBytes)
    if (command === NBD_CMD_WRITE && (commandFlags & NBD_CMD_FLAG_FUA) !== 0) durable.set(payload ?? [], offsetBytes)
    if (command === NBD_CMD_FLUSH) durable.set(current)
    pending.resolve(new Map())
  }

  /** Ends without a word. What waits may or may not have been done. */
  cut(error: PlatformError = new PlatformError('nbd.disconnected', 'simulated: cut')): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#server.connections.delete(this)
    this.#onLost(error)
    for (const { reject } of this.pending.splice(0)) reject(error)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut(new PlatformError('nbd.disconnected', 'simulated: closed'))
  }
}

/** Time passes only by sleeping. */
export function makeSteppedClock(): Clock & { readonly nowMs: number } {
  let nowMs = 0
  return {
    get nowMs() {
      return nowMs
    },
    now: () => new Date(nowMs),
    sleep: async (milliseconds, { signal }) => {
      signal.throwIfAborted()
      nowMs += milliseconds
    },
  }
}
