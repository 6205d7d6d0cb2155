import assert from 'node:assert/strict'

/** Callers bound their own concurrency; more than this is a mistake of theirs. */
const WAITING_MAX = 65_536

/** Who has slots: what is in flight there. */
export interface SlotOwner {
  bytesInFlight: number
  requestsInFlight: number
}

interface Waiter<T> {
  readonly bytes: number
  readonly resolve: (owner: T) => void
  readonly reject: (error: unknown) => void
}

/**
 * Gives each request a slot at the owner with the fewest bytes in flight, among those that have a slot free; the others
 * wait in the order they came.
 */
export class ConnectionSlots<T extends SlotOwner> {
  readonly #slotsPerOwner: number
  readonly #owners = new Set<T>()
  readonly #waiters = new Set<Waiter<T>>()

  constructor(slotsPerOwner: number) {
    this.#slotsPerOwner = slotsPerOwner
  }

  get ownerCount(): number {
    return this.#owners.size
  }

  get waitingCount(): number {
    return this.#waiters.size
  }

  get owners(): Iterable<T> {
    return this.#owners
  }

  add(owner: T): void {
    this.#owners.add(owner)
    this.#serve()
  }

  /** False: it was not there any more. Slots in use there are given back as ever. */
  remove(owner: T): boolean {
    return this.#owners.delete(owner)
  }

  /** The owner of the slot, at once where one is free. A wait rejects with the signal's reason or as `rejectAll` says. */
  acquire(bytes: number, signal: AbortSignal): T | Promise<T> {
    const owner = this.#waiters.size === 0 ? this.#free() : undefined
    if (owner !== undefined) return take(owner, bytes)
    assert(this.#waiters.size < WAITING_MAX, 'too many NBD requests at once')
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const onAbort = (): void => {
      if (this.#waiters.delete(waiter)) reject(signal.reason)
    }
    const stopListening = (): void => signal.removeEventListener('abort', onAbort)
    const waiter = {
      bytes,
      resolve: (given: T) => {
        stopListening()
        resolve(given)
      },
      reject: (error: unknown) => {
        stopListening()
        reject(error)
      },
    }
    this.#waiters.add(waiter)
    signal.addEventListener('abort', onAbort, { once: true })
    return promise
  }

  /** Gives back what `acquire` gave for a request of so many bytes. */
  release(owner: T, bytes: number): void {
    owner.bytesInFlight -= bytes
    owner.requestsInFlight -= 1
    this.#serve()
  }

  rejectAll(error: unknown): void {
    for (const waiter of this.#waiters) waiter.reject(error)
    this.#waiters.clear()
  }

  #serve(): void {
    for (const waiter of this.#waiters) {
      const owner = this.#free()
      if (owner === undefined) return
      this.#waiters.delete(waiter)
      waiter.resolve(take(owner, waiter.bytes))
    }
  }

  #free(): T | undefined {
    let best: T | undefined
    for (const owner of this.#owners) {
      if (owner.requestsInFlight >= this.#slotsPerOwner) continue
      if (best === undefined || owner.bytesInFlight < best.bytesInFlight) best = owner
    }
    return best
  }
}

function take<T extends SlotOwner>(owner: T, bytes: number): T {
  owner.bytesInFlight += bytes
  owner.requestsInFlight += 1
  return owner
}
