import { clientViolation } from '../wire/nbd-errors.ts'
import { decodeRequest, type ReceivedRequest, requestHeaderBytes } from '../wire/received-request.ts'
import { PAYLOAD_BYTES_MAX } from './nbd-export.ts'

/** Less of a payload is copied rather than read for itself. */
const DIRECT_BYTES_MIN = 4096

/** Who answers the requests. */
export interface RequestConsumer {
  /** A header is whole. False: not now; nothing more is taken, and the next call of `consume` asks again. */
  admit(request: ReceivedRequest): boolean
  /** Where the payload of the request just admitted goes, of exactly its length. Undefined: it is dropped. */
  payloadTarget(): Buffer | undefined
  /** The request just admitted is here with all of its payload. */
  accept(): void
}

/**
 * Cuts what a client sends into requests, payloads straight into the buffers they are written from. What it holds itself
 * is one header.
 */
export class RequestReceiver {
  readonly #extended: boolean
  readonly #consumer: RequestConsumer
  readonly #header: Buffer
  #headerBytes = 0
  /** Of a whole header that was not admitted yet. */
  #waiting: ReceivedRequest | undefined
  #target: Buffer | undefined
  #payloadAt = 0
  #payloadLeftBytes = 0

  constructor(options: { readonly extended: boolean; readonly consumer: RequestConsumer }) {
    this.#extended = options.extended
    this.#consumer = options.consumer
    this.#header = Buffer.alloc(requestHeaderBytes(options.extended))
  }

  /** A whole request waits to be admitted. */
  get isWaiting(): boolean {
    return this.#waiting !== undefined
  }

  /** Part of a request has arrived, and the rest is the client's to send. */
  get isMidRequest(): boolean {
    return this.#waiting === undefined && (this.#headerBytes > 0 || this.#payloadLeftBytes > 0)
  }

  /**
   * Takes what arrived, up to a request that is not admitted.
   * @returns how much was taken; the rest is given again when the consumer may admit
   * @throws PlatformError `nbd.protocol_violation` where no request can begin, or a payload is longer than any may be
   */
  consume(piece: Buffer): number {
    let at = 0
    if (this.#waiting !== undefined && !this.#tryAdmit(this.#waiting)) return 0
    while (at < piece.length) {
      if (this.#payloadLeftBytes > 0) {
        at += this.#takePayload(piece, at)
        continue
      }
      const takenBytes = Math.min(piece.length - at, this.#header.length - this.#headerBytes)
      piece.copy(this.#header, this.#headerBytes, at, at + takenBytes)
      this.#headerBytes += takenBytes
      at += takenBytes
      if (this.#headerBytes === this.#header.length && !this.#endOfHeader()) break
    }
    return at
  }

  /** The rest of a payload's buffer, undefined where none is awaited or it is dropped. */
  payloadRoom(): Buffer | undefined {
    if (this.#payloadLeftBytes < DIRECT_BYTES_MIN) return undefined
    return this.#target?.subarray(this.#payloadAt)
  }

  /** The first bytes of `payloadRoom` have arrived there. */
  payloadArrived(lengthBytes: number): void {
    this.#advance(lengthBytes)
  }

  #endOfHeader(): boolean {
    this.#headerBytes = 0
    const request = decodeRequest(this.#header, this.#extended)
    if (request.payloadBytes > PAYLOAD_BYTES_MAX) throw clientViolation(`a payload of ${request.payloadBytes} bytes`)
    return this.#tryAdmit(request)
  }

  #tryAdmit(request: ReceivedRequest): boolean {
    this.#waiting = request
    if (!this.#consumer.admit(request)) return false
    this.#waiting = undefined
    this.#payloadLeftBytes = request.payloadBytes
    this.#payloadAt = 0
    this.#target = request.payloadBytes > 0 ? this.#consumer.payloadTarget() : undefined
    if (request.payloadBytes === 0) this.#consumer.accept()
    return true
  }

  #takePayload(piece: Buffer, at: number): number {
    const takenBytes = Math.min(piece.length - at, this.#payloadLeftBytes)
    if (this.#target !== undefined) piece.copy(this.#target, this.#payloadAt, at, at + takenBytes)
    this.#advance(takenBytes)
    return takenBytes
  }

  #advance(lengthBytes: number): void {
    this.#payloadAt += lengthBytes
    this.#payloadLeftBytes -= lengthBytes
    if (this.#payloadLeftBytes > 0) return
    this.#target = undefined
    this.#consumer.accept()
  }
}
