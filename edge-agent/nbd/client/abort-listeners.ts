/**
 * Tells of the abort of signals, with one listener on each signal however many wait for it: a listener costs more than all
 * else that is done for a request.
 */
export class AbortListeners<T> {
  readonly #onAbort: (item: T) => void
  readonly #bySignal = new Map<AbortSignal, { readonly items: Set<T>; readonly listener: () => void }>()

  /** @param onAbort called for each item of a signal that was aborted, in the order they came */
  constructor(onAbort: (item: T) => void) {
    this.#onAbort = onAbort
  }

  /** The signal is not aborted. */
  add(signal: AbortSignal, item: T): void {
    const known = this.#bySignal.get(signal)
    if (known !== undefined) {
      known.items.add(item)
      return
    }
    const items = new Set([item])
    const listener = (): void => {
      for (const waiting of items) this.#onAbort(waiting)
      this.#bySignal.delete(signal)
    }
    this.#bySignal.set(signal, { items, listener })
    signal.addEventListener('abort', listener, { once: true })
  }

  /** It is not told of any more. Does nothing when it was not to be. */
  delete(signal: AbortSignal, item: T): void {
    const known = this.#bySignal.get(signal)
    if (known === undefined || !known.items.delete(item) || known.items.size > 0) return
    this.#bySignal.delete(signal)
    signal.removeEventListener('abort', known.listener)
  }
}
