import assert from 'node:assert/strict'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { ByteConsumer } from './client-socket.ts'

/** A client that sends more than this before it is read is not heard for the moment. */
const HELD_BYTES_MAX = 64 * 1024

/** Turns the pieces that arrive into the exact lengths the handshake waits for, one wait at a time. */
export class HandshakeInput implements ByteConsumer {
  readonly #flow: { pause(): void; resume(): void }
  #held: Buffer = Buffer.alloc(0)
  #failure: Error | undefined
  #wanted: { readonly lengthBytes: number; readonly got: PromiseWithResolvers<Buffer> } | undefined
  #skipBytes = 0

  /** @param flow of the socket that the pieces come from */
  constructor(flow: { pause(): void; resume(): void }) {
    this.#flow = flow
  }

  /** What arrived and nobody has received. It is taken out. */
  takeRest(): Buffer {
    const rest = this.#held
    this.#held = Buffer.alloc(0)
    return rest
  }

  /** Exactly so many bytes, the caller's to keep. Rejects with the error of `fail`, `nbd.disconnected` at the end. */
  async receive(lengthBytes: number): Promise<Buffer> {
    assert(this.#wanted === undefined, 'the handshake waits for one thing at a time')
    assert(lengthBytes <= HELD_BYTES_MAX, 'nothing is received that could not be held')
    const got = Promise.withResolvers<Buffer>()
    this.#wanted = { lengthBytes, got }
    this.#serve()
    return await got.promise
  }

  /** Drops so many bytes, of which none is ever held: the next `receive` begins after them. */
  skip(lengthBytes: number): void {
    this.#skipBytes += lengthBytes
    this.#serve()
  }

  onBytes(piece: Buffer): void {
    this.#held = Buffer.concat([this.#held, piece])
    this.#serve()
  }

  onEnd(): void {
    this.fail(new PlatformError('nbd.disconnected', 'the client went away in the handshake'))
  }

  /** Whoever waits or comes later is rejected with the error. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#serve()
  }

  #serve(): void {
    const skippedBytes = Math.min(this.#skipBytes, this.#held.length)
    this.#skipBytes -= skippedBytes
    this.#held = this.#held.subarray(skippedBytes)
    const wanted = this.#wanted
    if (wanted !== undefined && this.#failure !== undefined) {
      this.#wanted = undefined
      wanted.got.reject(this.#failure)
    } else if (wanted !== undefined && this.#skipBytes === 0 && this.#held.length >= wanted.lengthBytes) {
      this.#wanted = undefined
      wanted.got.resolve(this.#held.subarray(0, wanted.lengthBytes))
      this.#held = this.#held.subarray(wanted.lengthBytes)
    }
    if (this.#held.length > HELD_BYTES_MAX) this.#flow.pause()
    else this.#flow.resume()
  }
}
