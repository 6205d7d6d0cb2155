import { median } from '../bench-report.ts'
import type { Usage } from '../resource-usage.ts'

/** What cases took, round by round, in the order in which they were noted. */
export class NotedUsages {
  readonly #byName = new Map<string, Usage[]>()

  note(name: string, usage: Usage): void {
    this.#byName.set(name, [...this.#of(name), usage])
  }

  names(): readonly string[] {
    return [...this.#byName.keys()]
  }

  seconds(name: string): readonly number[] {
    return this.#of(name).map((usage) => usage.seconds)
  }

  median(name: string, what: keyof Usage): number {
    return median(this.#of(name).map((usage) => usage[what]))
  }

  /** Median of the peer's over ours: above 1 means that ours is less. */
  ratio(peer: string, ours: string, what: keyof Usage = 'seconds'): number {
    return this.median(peer, what) / this.median(ours, what)
  }

  #of(name: string): readonly Usage[] {
    return this.#byName.get(name) ?? []
  }
}
