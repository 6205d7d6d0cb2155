import { setTimeout as delay } from 'node:timers/promises'

/** Time as the code sees it; simulation passes its own. */
export interface Clock {
  now(): Date
  /** Rejects with the signal's reason when aborted. */
  sleep(milliseconds: number, options: { signal: AbortSignal }): Promise<void>
}

export const systemClock: Clock = {
  now: () => new Date(),
  sleep: async (milliseconds, { signal }) => {
    try {
      await delay(milliseconds, undefined, { signal })
    } catch (error) {
      signal.throwIfAborted()
      throw error
    }
  },
}
