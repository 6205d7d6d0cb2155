import type { QueryKey } from '@tanstack/react-query'

/**
 * Collects keys and hands each over once, `delayMs` after the first: a burst of events becomes one re-read of
 * every list it touched. `dispose` drops what was collected.
 */
export class InvalidationBatch implements Disposable {
  readonly #keys = new Map<string, QueryKey>()
  readonly #delayMs: number
  readonly #invalidate: (key: QueryKey) => void
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(delayMs: number, invalidate: (key: QueryKey) => void) {
    this.#delayMs = delayMs
    this.#invalidate = invalidate
  }

  add(keys: readonly QueryKey[]): void {
    for (const key of keys) this.#keys.set(JSON.stringify(key), key)
    if (this.#keys.size > 0) this.#timer ??= setTimeout(() => this.flush(), this.#delayMs)
  }

  /** Hands everything over now. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const keys = [...this.#keys.values()]
    this.#keys.clear()
    for (const key of keys) this.#invalidate(key)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#keys.clear()
  }
}
