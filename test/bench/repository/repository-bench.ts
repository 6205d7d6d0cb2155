import type { CallOptions } from '@sendense/edge-agent/block/block-source.ts'
import type { Mover } from '@sendense/edge-agent/mover/mover.ts'
import type { BenchReport } from '../bench-report.ts'

/** Counted rounds: each takes about two minutes, most of them the peers'. */
export const ROUNDS = 3
export const CHUNK_SIZE_BYTES = 256 * 1024

/** What every part of the benchmark works with. */
export interface RepositoryBench extends CallOptions {
  /** Of its own, on storage that is not what is measured; removed by who calls. */
  readonly dir: string
  /** Its threads run and have their modules loaded, as in an agent that has been up for a while. */
  readonly mover: Mover
  readonly report: BenchReport
}
