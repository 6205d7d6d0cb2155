import assert from 'node:assert/strict'
import { protocolViolation } from '../wire/nbd-errors.ts'
import type { HandshakeChannel } from './option-exchange.ts'

/** A server that sends more than this unasked is hostile. */
const WAITING_BYTES_MAX = 256 * 1024

/** Turns the pieces that arrive into the exact lengths the handshake waits for, one wait at a time. */
export class HandshakeBuffer implements HandshakeChannel {
  readonly send: (bytes: Buffer) => void
  #held = Buffer.alloc(0)
  #failure: unknown
  #end: unknown
  #waiter: { lengthBytes: number; resolve: (bytes: Buffer) => void; reject: (error: unknown) => void } | undefined

  constructor(send: (bytes: Buffer) => void) {
    this.send = send
  }

  /** Bytes that arrived and nobody has received. */
  get heldBytes(): number {
    return this.#held.length
  }

  async receive(lengthBytes: number): Promise<Buffer> {
    assert(this.#waiter === undefined, 'the handshake waits for one thing at a time')
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    this.#waiter = { lengthBytes, resolve, reject }
    this.#serve()
    return await promise
  }

  /** @param piece copied */
  push(piece: Buffer): void {
    this.#held = Buffer.concat([this.#held, piece])
    if (this.#held.length > WAITING_BYTES_MAX) this.fail(protocolViolation('a flood of bytes in the handshake'))
    else this.#serve()
  }

  /** Whoever waits or comes later is rejected with the error. */
  fail(error: unknown): void {
    this.#failure ??= error
    this.#serve()
  }

  /** What is held is still received; then it fails. */
  endAfterHeld(error: unknown): void {
    this.#end ??= error
    this.#serve()
  }

  #serve(): void {
    const waiter = this.#waiter
    if (waiter === undefined) return
    if (this.#failure !== undefined) {
      this.#waiter = undefined
      waiter.reject(this.#failure)
    } else if (this.#held.length >= waiter.lengthBytes) {
      this.#waiter = undefined
      const bytes = this.#held.subarray(0, waiter.lengthBytes)
      this.#held = this.#held.subarray(waiter.lengthBytes)
      waiter.resolve(bytes)
    } else if (this.#end !== undefined) {
      this.#waiter = undefined
      waiter.reject(this.#end)
    }
  }
}
