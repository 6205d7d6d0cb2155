import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'

/** One piece of work a key at a time, within this process; in the order of asking. */
export class KeyLocks {
  readonly #last = new Map<string, Promise<void>>()

  async run<T>(key: string, work: () => Promise<T>, { signal }: { readonly signal: AbortSignal }): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve()
    const { promise: done, resolve } = Promise.withResolvers<void>()
    const mine = before.then(async () => await done)
    this.#last.set(key, mine)
    try {
      await untilAborted(before, signal)
      return await work()
    } finally {
      resolve()
      if (this.#last.get(key) === mine) this.#last.delete(key)
    }
  }
}
