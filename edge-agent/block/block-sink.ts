import type { BlockEndpoint } from './block-endpoint.ts'
import type { CallOptions } from './block-source.ts'

/**
 * A disk that can be written at any offset. Ranges that nobody wrote keep what they were (zeros on a
 * new disk). This contract is executable: block-sink.conformance.ts.
 */
export interface BlockSink extends AsyncDisposable {
  readonly sizeBytes: number
  /** Where another thread can open the same disk by itself. Absent: only this object reaches it. */
  readonly endpoint?: BlockEndpoint
  /** How many may have `endpoint` open at once, each flushing what it wrote. Absent: one. */
  readonly openersMax?: number
  /**
   * What an error means here that somebody got who opened `endpoint` by himself: the code this sink would have
   * rejected with. Absent: errors of the endpoint are its own. Pure; an error it does not know is returned as it is.
   */
  readonly translateError?: (error: unknown) => unknown
  /**
   * The disk has no way to make writes durable: `flush` does nothing, and after a loss all that was ever written may be
   * gone. Absent: `flush` does what it says.
   */
  readonly cannotFlush?: boolean
  /**
   * Writes all of `bytes`. The buffer is the caller's again when it settles; not durable before `flush`.
   * Rejects with `input.invalid` when the range leaves the disk, `target.no_space`, `target.write_failed`.
   */
  write(offsetBytes: number, bytes: Uint8Array, options: CallOptions): Promise<void>
  /** Makes the range read as zeros, over a backing file too: it never uncovers what lay below. */
  writeZeroes(offsetBytes: number, lengthBytes: number, options: CallOptions): Promise<void>
  /**
   * Resolves when all that was written before is durable. Rejects with `nbd.writes_uncertain` when some of what was
   * answered since the last flush may be lost, unless another call was rejected with that already.
   */
  flush(options: CallOptions): Promise<void>
}
