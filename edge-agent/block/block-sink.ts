import type { BlockEndpoint } from './block-endpoint.ts'
import type { CallOptions } from './block-source.ts'

/** A whole chunk of a disk, under the id that its content has. */
export interface SinkChunk {
  /** Of the chunk on the disk, from 0. */
  readonly index: number
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** 32 bytes: keyed BLAKE3-256 of the content, never that of zeros. Not to be changed or kept. */
  readonly id: Uint8Array
}

/** Takes whole chunks with their ids, for disks that are kept as such. */
export interface ChunkSink {
  /**
   * Takes a chunk. `parts` are all its bytes in order, the caller's again when it returned, or when the promise it returned
   * settled: it waits only where there is no room. Not durable before `flush`, and lost with the sink. A chunk that is kept
   * already, durably, costs next to nothing: callers put every chunk they looked at, also again after a loss.
   * Rejects with `repository.*`.
   */
  put(chunk: SinkChunk, parts: readonly Uint8Array[], options: CallOptions): Promise<void> | undefined
}

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
   * Present: the disk is given whole chunks that are not zeros, instead of pieces; what is not put is as the ids of the
   * disk say. `write` and `writeZeroes` reject with `input.invalid`.
   */
  readonly chunks?: ChunkSink
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
