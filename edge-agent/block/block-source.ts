import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { BlockEndpoint } from './block-endpoint.ts'

export interface CallOptions {
  readonly signal: AbortSignal
}

/** A range of a disk and what is known of it without reading it. */
export interface BlockExtent extends Extent {
  /** Reads as zeros, for certain. False says nothing: the data may be zeros all the same. */
  readonly zero: boolean
  /** May differ since the base of change tracking. Always true on a source without a base. */
  readonly dirty: boolean
}

/**
 * A disk that can be read at any offset: an NBD export, a restore point, an image in memory.
 *
 * Its content must not change while it is open. A source does not retry, throttle, hash or log:
 * layers and the mover do that once for all. This contract is executable: block-source.conformance.ts.
 */
export interface BlockSource extends AsyncDisposable {
  readonly sizeBytes: number
  /** Where another thread can open the same disk by itself. Absent: only this object reaches it. */
  readonly endpoint?: BlockEndpoint
  /** How many may have `endpoint` open at once. Absent: one. */
  readonly openersMax?: number
  /**
   * What an error means here that somebody got who opened `endpoint` by himself: the code this source would have
   * rejected with. Absent: errors of the endpoint are its own. Pure; an error it does not know is returned as it is.
   */
  readonly translateError?: (error: unknown) => unknown
  /**
   * What is known of [offsetBytes, offsetBytes + lengthBytes): ordered, without gaps or overlaps, clamped
   * to the range; neighbours of the same kind may come apart.
   * Rejects with `input.invalid` when the range leaves the disk.
   */
  extents(range: Extent, options: CallOptions): AsyncIterable<BlockExtent>
  /**
   * Fills `into` with the bytes from `offsetBytes` on. The buffer is the caller's again when it settles.
   * Rejects with `input.invalid` when the range leaves the disk, `source.read_failed` on a medium error,
   * `nbd.*` on a broken connection, or the signal's reason.
   */
  read(offsetBytes: number, into: Uint8Array, options: CallOptions): Promise<void>
}
