import { median } from './bench-report.ts'
import type { ChildUsage } from './measured-child.ts'

export interface UsageContestant {
  readonly name: string
  /** Done before each run and not counted. */
  readonly prepare?: () => Promise<void>
  readonly run: () => Promise<ChildUsage>
}

/** What each contestant used, round by round. */
export class Usages {
  readonly #byName = new Map<string, ChildUsage[]>()

  note(name: string, usage: ChildUsage): void {
    this.#byName.set(name, [...this.of(name), usage])
  }

  of(name: string): readonly ChildUsage[] {
    return this.#byName.get(name) ?? []
  }

  seconds(name: string): readonly number[] {
    return this.of(name).map((usage) => usage.seconds)
  }

  median(name: string, what: keyof ChildUsage): number {
    return median(this.of(name).map((usage) => usage[what]))
  }

  /** Median of the peer's over ours: above 1 means that ours is less. */
  ratio(peer: string, ours: string, what: keyof ChildUsage = 'seconds'): number {
    return this.median(peer, what) / this.median(ours, what)
  }

  names(): readonly string[] {
    return [...this.#byName.keys()]
  }
}

/** As `contest`: all in turn, `rounds` times, without a round that does not count. */
export async function usageContest(contestants: readonly UsageContestant[], rounds: number): Promise<Usages> {
  const usages = new Usages()
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, prepare, run } of contestants) {
      await prepare?.()
      usages.note(name, await run())
    }
  }
  return usages
}
