import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../block/block-source.ts'

/** Lets somebody hold a copy up and let it go on, any number of times. */
export class PauseSwitch {
  #released: PromiseWithResolvers<void> | undefined
  readonly #listeners = new Set<() => void>()

  get isPaused(): boolean {
    return this.#released !== undefined
  }

  pause(): void {
    if (this.#released !== undefined) return
    this.#released = Promise.withResolvers<void>()
    for (const listener of this.#listeners) listener()
  }

  resume(): void {
    const released = this.#released
    if (released === undefined) return
    this.#released = undefined
    released.resolve()
    for (const listener of this.#listeners) listener()
  }

  /** Resolves at once unless it is paused, otherwise when it is not any more. Rejects with the signal's reason. */
  async untilRunning({ signal }: CallOptions): Promise<void> {
    while (this.#released !== undefined) {
      await untilAborted(this.#released.promise, signal)
    }
    signal.throwIfAborted()
  }

  /** Calls `listener` after each change until disposed. */
  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }
}
