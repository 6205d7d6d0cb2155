/**
 * Runs work of the same key one after the other and of different keys side by side, at most `runningMax`
 * at once and at most `waitingMax` waiting.
 */
export interface KeyedQueue extends AsyncDisposable {
  /** False, and nothing is done, where too much waits or the queue is closed. `work` must not reject. */
  add(key: string, work: () => Promise<void>): boolean
}

export function createKeyedQueue(options: { runningMax: number; waitingMax: number }): KeyedQueue {
  const waiting: { key: string; work: () => Promise<void> }[] = []
  const running = new Map<string, Promise<void>>()
  let closed = false

  const startNext = (): void => {
    while (running.size < options.runningMax) {
      const index = waiting.findIndex((entry) => !running.has(entry.key))
      const [entry] = index === -1 ? [] : waiting.splice(index, 1)
      if (entry === undefined) return
      const run = entry.work().finally(() => {
        running.delete(entry.key)
        startNext()
      })
      running.set(entry.key, run)
    }
  }

  return {
    add(key, work) {
      if (closed || waiting.length >= options.waitingMax) return false
      waiting.push({ key, work })
      startNext()
      return true
    },
    async [Symbol.asyncDispose]() {
      closed = true
      waiting.length = 0
      await Promise.allSettled(running.values())
    },
  }
}
