import type { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { StatusRun } from '../wire/block-status.ts'
import type { NbdCommand } from '../wire/nbd-constants.ts'
import type { ReadCoverage } from './read-coverage.ts'

/** A request that was sent and whose reply is not complete. */
export interface PendingRequest {
  readonly cookie: number
  readonly command: NbdCommand
  /** NBD_CMD_FLAG_*. */
  readonly commandFlags: number
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** READ only: the caller's buffer. Undefined once the caller was answered; what still arrives is skipped then. */
  readonly into: Uint8Array | undefined
  /** READ with structured replies only. */
  readonly coverage: ReadCoverage | undefined
  /** BLOCK_STATUS only: what arrived, by context id. */
  readonly contexts: Map<number, readonly StatusRun[]> | undefined
  /** Of the contexts that were negotiated: a block status has each of them once. */
  readonly contextIds: ReadonlySet<number>
  /** First error chunk of the reply. */
  failure: PlatformError | undefined
  /** Error chunks of the reply until now. */
  errorChunks: number
  /** The caller went away, or was sent away. It is answered as soon as nobody writes to its buffers any more. */
  readonly isAbandoned: boolean
  /** The socket reads from or writes to the caller's buffers until `releaseBuffers`: the caller is not answered before. */
  holdBuffers(): void
  releaseBuffers(): void
}
