import assert from 'node:assert/strict'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_DISC, NBD_CMD_READ, NBD_ESHUTDOWN } from '../wire/nbd-constants.ts'
import type { ReceivedRequest } from '../wire/received-request.ts'
import type { BufferLease, BufferPool } from './buffer-pool.ts'
import type { ByteConsumer, ClientSocket } from './client-socket.ts'
import type { NegotiatedExport } from './nbd-export.ts'
import { PAYLOAD_BYTES_MAX } from './nbd-export.ts'
import { findFault, type RequestFault, type RequestRules } from './request-check.ts'
import { type RequestConsumer, RequestReceiver } from './request-receiver.ts'
import { replyFault, serveRequest } from './serve-request.ts'

/** What a block status may need: its descriptors, in whichever form. */
const STATUS_REPLY_BYTES = 1024 * 1024
const NOTHING = Buffer.alloc(0)

export interface TransmissionOptions {
  readonly socket: ClientSocket
  readonly negotiated: NegotiatedExport
  readonly pool: BufferPool
  /** Worked on at once for one connection. */
  readonly requestsMax: number
  /** Aborts when the client is gone or may be waited for no longer: work under way is given up. */
  readonly signal: AbortSignal
}

/** A request from its header until its reply has left. */
interface Work {
  readonly request: ReceivedRequest
  readonly fault: RequestFault | undefined
  readonly lease: BufferLease | undefined
}

/**
 * The transmission phase of one connection. Requests are worked on at once and answered as they are done. A request
 * counts against the limits, of number and of bytes, until its reply has left: a client that does not read its replies is
 * not heard any more once they are reached.
 */
export class Transmission implements ByteConsumer, RequestConsumer {
  /** Resolves when nothing is worked on any more and all replies have left or never will. */
  readonly finished: Promise<void>
  readonly #options: TransmissionOptions
  readonly #rules: RequestRules
  readonly #receiver: RequestReceiver
  readonly #finished = Promise.withResolvers<void>()
  #held: Buffer = NOTHING
  #admitted: Work | undefined
  #inFlight = 0
  #leasedBytes = 0
  /** Given by the pool to the request that waits. */
  #granted: BufferLease | undefined
  #leaveQueue: (() => void) | undefined
  /** Nothing new is begun: `leaving` the client does not wait for answers, `draining` it gets NBD_ESHUTDOWN. */
  #end: 'leaving' | 'draining' | undefined

  constructor(options: TransmissionOptions) {
    const { served, style, contexts } = options.negotiated
    this.#options = options
    this.finished = this.#finished.promise
    this.#rules = {
      sizeBytes: served.sizeBytes,
      blockSizes: served.blockSizes,
      isWritable: served.sink !== undefined,
      canTrim: served.sink?.trim !== undefined,
      style,
      hasContexts: contexts.length > 0,
    }
    this.#receiver = new RequestReceiver({ extended: style === 'extended', consumer: this })
    if (options.signal.aborted) this.#leave()
    else options.signal.addEventListener('abort', () => this.#leave(), { once: true })
  }

  /** The client owes the rest of a request, or does not read its replies. */
  get isWaitingForClient(): boolean {
    return this.#receiver.isMidRequest || !this.#options.socket.isAllSent
  }

  /** Nothing is asked and nothing is answered. */
  get isIdle(): boolean {
    return this.#inFlight === 0 && !this.isWaitingForClient
  }

  onBytes(piece: Buffer): void {
    this.#held = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece])
    this.#consume()
  }

  room(): Buffer | undefined {
    return this.#end === 'leaving' ? undefined : this.#receiver.payloadRoom()
  }

  onFilled(lengthBytes: number): void {
    // Given before everything ended: the buffer is still held until this request's payload is dropped with it.
    if (this.#end !== 'leaving') this.#receiver.payloadArrived(lengthBytes)
  }

  onEnd(): void {
    this.#leave()
  }

  /** Finishes what was begun, refuses what comes, and ends the connection. */
  drain(): void {
    this.#end ??= 'draining'
    this.#giveUpLease()
    this.#consume()
    this.#endIfDone()
  }

  admit(request: ReceivedRequest): boolean {
    if (this.#end === 'leaving') return false
    if (this.#inFlight >= this.#options.requestsMax) return false
    const fault = findFault(request, this.#rules) ?? this.#refusal()
    const lengthBytes = fault === undefined ? bytesNeeded(request) : 0
    const lease = lengthBytes === 0 ? undefined : this.#takeLease(lengthBytes)
    if (lengthBytes > 0 && lease === undefined) return false
    this.#inFlight += 1
    this.#leasedBytes += lease?.sizeBytes ?? 0
    this.#admitted = { request, fault, lease }
    return true
  }

  payloadTarget(): Buffer | undefined {
    const { lease, request } = this.#takeAdmitted(false)
    return lease?.bytes.subarray(0, request.payloadBytes)
  }

  accept(): void {
    const work = this.#takeAdmitted(true)
    if (work.request.command === NBD_CMD_DISC && work.fault === undefined) {
      this.#inFlight -= 1
      this.#leave()
      return
    }
    const isRefused = work.fault !== undefined || this.#end !== undefined
    const fault = work.fault ?? { errorNumber: NBD_ESHUTDOWN, text: 'the export is ending' }
    if (isRefused) this.#reply(work, replyFault({ request: work.request, style: this.#rules.style }, fault))
    else this.#begin(work)
  }

  #refusal(): RequestFault | undefined {
    return this.#end === undefined ? undefined : { errorNumber: NBD_ESHUTDOWN, text: 'the export is ending' }
  }

  #takeAdmitted(isLast: boolean): Work {
    const work = this.#admitted
    assert(work !== undefined, 'a payload belongs to a request that was admitted')
    if (isLast) this.#admitted = undefined
    return work
  }

  /** Undefined: not now. The connection goes on as soon as there is room. */
  #takeLease(lengthBytes: number): BufferLease | undefined {
    const granted = this.#granted
    if (granted !== undefined) {
      this.#granted = undefined
      return granted
    }
    if (this.#leaveQueue !== undefined) return undefined
    if (this.#leasedBytes > 0 && this.#leasedBytes + lengthBytes > PAYLOAD_BYTES_MAX) return undefined
    const lease = this.#options.pool.tryLease(lengthBytes)
    if (lease !== undefined) return lease
    this.#leaveQueue = this.#options.pool.waitForLease(lengthBytes, (later) => {
      this.#leaveQueue = undefined
      this.#granted = later
      setImmediate(() => this.#consume())
    })
    return undefined
  }

  #giveUpLease(): void {
    this.#leaveQueue?.()
    this.#leaveQueue = undefined
    this.#granted?.release()
    this.#granted = undefined
  }

  #consume(): void {
    if (this.#end === 'leaving') return
    try {
      const takenBytes = this.#receiver.consume(this.#held)
      this.#held = takenBytes === this.#held.length ? NOTHING : this.#held.subarray(takenBytes)
    } catch (error) {
      if (!isPlatformError(error)) throw error
      this.#options.socket.destroy()
      return
    }
    if (this.#receiver.isWaiting) this.#options.socket.pause()
    else this.#options.socket.resume()
  }

  #begin(work: Work): void {
    const { negotiated, signal } = this.#options
    const serving = { ...negotiated, request: work.request, rules: this.#rules, bytes: bytesOf(work), signal }
    void serveRequest(serving).then((reply) => this.#reply(work, reply))
  }

  #reply(work: Work, pieces: readonly Buffer[]): void {
    this.#options.socket.write(pieces, () => this.#finish(work))
  }

  #finish({ lease }: Work): void {
    this.#inFlight -= 1
    this.#leasedBytes -= lease?.sizeBytes ?? 0
    lease?.release()
    if (this.#receiver.isWaiting) this.#consume()
    this.#endIfDone()
  }

  /** The client says good-bye or is gone: what waits is forgotten, what was begun is finished. */
  #leave(): void {
    if (this.#end === 'leaving') return
    this.#end = 'leaving'
    this.#held = NOTHING
    this.#giveUpLease()
    if (this.#admitted !== undefined) {
      // Its payload never came whole.
      const { lease } = this.#takeAdmitted(true)
      this.#inFlight -= 1
      lease?.release()
    }
    this.#endIfDone()
  }

  #endIfDone(): void {
    if (this.#end === undefined || this.#inFlight > 0) return
    this.#end = 'leaving'
    this.#options.socket.end()
    this.#finished.resolve()
  }
}

function bytesNeeded(request: ReceivedRequest): number {
  if (request.command === NBD_CMD_READ) return request.lengthBytes
  if (request.command === NBD_CMD_BLOCK_STATUS) return Math.max(STATUS_REPLY_BYTES, request.payloadBytes)
  return request.payloadBytes
}

/** A READ has room for what it reads, others have their payload. */
function bytesOf({ request, lease }: Work): Buffer {
  if (lease === undefined) return NOTHING
  if (request.command === NBD_CMD_READ) return lease.bytes
  return request.payloadBytes === 0 ? NOTHING : lease.bytes.subarray(0, request.payloadBytes)
}
