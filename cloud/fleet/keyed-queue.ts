/**
 * Runs work of the same key one after the other and of different keys side by side, at most `runningMax`
 * at once. At most `waitingMax` wait, and at most `waitingPerKeyMax` of one key: no key takes the room of the others.
 */
export interface KeyedQueue extends AsyncDisposable {
  /** False, and nothing is done, where too much waits or the queue is closed. `work` must not reject. */
  add(key: string, work: () => Promise<void>): boolean
  /** As `add`, and true where work added by this with the same key still waits: that will do for both. */
  addOnce(key: string, work: () => Promise<void>): boolean
}

interface Entry {
  readonly key: string
  readonly work: () => Promise<void>
  readonly once: boolean
}

export function createKeyedQueue(options: {
  runningMax: number
  waitingMax: number
  waitingPerKeyMax: number
}): KeyedQueue {
  const waiting: Entry[] = []
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
  const add = (entry: Entry): boolean => {
    if (closed) return false
    const ofKey = waiting.filter(({ key }) => key === entry.key)
    if (entry.once && ofKey.some(({ once }) => once)) return true
    if (waiting.length >= options.waitingMax || ofKey.length >= options.waitingPerKeyMax) return false
    waiting.push(entry)
    startNext()
    return true
  }

  return {
    add: (key, work) => add({ key, work, once: false }),
    addOnce: (key, work) => add({ key, work, once: true }),
    async [Symbol.asyncDispose]() {
      closed = true
      waiting.length = 0
      await Promise.allSettled(running.values())
    },
  }
}
