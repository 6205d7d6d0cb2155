const KEYS_MAX = 10_000

/**
 * Counts attempts by key in a sliding window, in this process's memory: each cloud node allows as many.
 * Past the bound of keys the oldest are forgotten.
 */
export interface AttemptLimiter {
  /** False where `key` has used up its attempts; a refused attempt does not count. */
  tryTake(key: string): boolean
  /** Gives a key all its attempts back. */
  reset(key: string): void
}

export function createAttemptLimiter(options: {
  attemptsMax: number
  windowMs: number
  now: () => number
}): AttemptLimiter {
  const attempts = new Map<string, number[]>()
  return {
    tryTake(key) {
      const since = options.now() - options.windowMs
      const recent = (attempts.get(key) ?? []).filter((at) => at > since)
      if (recent.length >= options.attemptsMax) return false
      recent.push(options.now())
      attempts.delete(key)
      attempts.set(key, recent)
      if (attempts.size > KEYS_MAX) {
        const oldest = attempts.keys().next().value
        if (oldest !== undefined) attempts.delete(oldest)
      }
      return true
    },
    reset: (key) => void attempts.delete(key),
  }
}
