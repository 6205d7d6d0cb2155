import { execFileSync } from 'node:child_process'
import { cpus } from 'node:os'
import process from 'node:process'

/** One measured case of one contestant, in the order the rounds ran. */
export interface Measured {
  readonly name: string
  readonly seconds: readonly number[]
}

/**
 * Writes a benchmark's results as JSON lines: one a case as it is known, and a last one with the figures, as
 * `{"bench": …, "commit": …, "figures": {name: number}}`.
 */
export class BenchReport {
  readonly #bench: string
  readonly #commit: string
  readonly #figures: Record<string, number> = {}

  constructor(bench: string) {
    this.#bench = bench
    this.#commit = currentCommit()
    this.#write({
      bench,
      commit: this.#commit,
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      node: process.version,
    })
  }

  /** A line that is neither a case nor a figure. */
  note(facts: Readonly<Record<string, number | string>>): void {
    this.#write(facts)
  }

  /** @param facts whatever a reader wants beside the times: bytes, GiB/s, CPU seconds, versions */
  measured({ name, seconds }: Measured, facts: Readonly<Record<string, number | string>> = {}): void {
    const rounded = seconds.map((value) => round(value))
    this.#write({ case: name, medianSeconds: round(median(seconds)), seconds: rounded, ...facts })
  }

  figure(name: string, value: number): void {
    this.#figures[name] = round(value)
  }

  end(): void {
    this.#write({ bench: this.#bench, commit: this.#commit, figures: this.#figures })
  }

  #write(line: object): void {
    process.stdout.write(`${JSON.stringify(line)}\n`)
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right)
  const middle = sorted[Math.floor(sorted.length / 2)]
  if (middle === undefined) throw new Error('a median of nothing')
  return middle
}

function round(value: number): number {
  return Number(value.toPrecision(4))
}

function currentCommit(): string {
  return execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], { encoding: 'utf8' }).trim()
}
