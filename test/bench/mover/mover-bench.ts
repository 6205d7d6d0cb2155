import type { Mover } from '@sendense/edge-agent/mover/mover.ts'
import type { BenchReport } from '../bench-report.ts'

/** Counted rounds of each contest. */
export const ROUNDS = 5

/** What every part of the benchmark works with. */
export interface MoverBench {
  /** Of its own, on storage that is not what is measured; removed by who calls. */
  readonly dir: string
  readonly mover: Mover
  readonly report: BenchReport
  readonly signal: AbortSignal
}
