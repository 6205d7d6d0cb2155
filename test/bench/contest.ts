import { median } from './bench-report.ts'

export interface Contestant {
  readonly name: string
  /** Done before each run and not timed. */
  readonly prepare?: () => Promise<void>
  readonly run: () => Promise<void>
}

/**
 * Runs all contestants in turn, round after round, so that whatever else the machine does hits all alike. The first round
 * warms caches and is not counted.
 * @returns seconds of each counted round, by contestant
 */
export async function contest(contestants: readonly Contestant[], rounds: number): Promise<Map<string, number[]>> {
  const seconds = new Map(contestants.map(({ name }) => [name, [] as number[]]))
  for (let round = 0; round <= rounds; round += 1) {
    for (const { name, prepare, run } of contestants) {
      await prepare?.()
      const startedMs = performance.now()
      await run()
      if (round > 0) seconds.get(name)?.push((performance.now() - startedMs) / 1000)
    }
  }
  return seconds
}

/** Median of one contestant's seconds over another's: above 1 means that the second is faster. */
export function ratio(seconds: ReadonlyMap<string, readonly number[]>, peer: string, ours: string): number {
  return median(secondsOf(seconds, peer)) / median(secondsOf(seconds, ours))
}

export function secondsOf(seconds: ReadonlyMap<string, readonly number[]>, name: string): readonly number[] {
  const found = seconds.get(name)
  if (found === undefined) throw new Error(`no contestant is called ${name}`)
  return found
}
