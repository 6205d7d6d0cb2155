import type { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { StatusRun } from '../wire/block-status.ts'
import type { NbdCommand } from '../wire/nbd-constants.ts'
import type { ReadCoverage } from './read-coverage.ts'

/** A request that was sent and whose reply is not complete. */
export interface PendingRequest {
  readonly cookie: number
  readonly command: NbdCommand
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** READ only: the caller's buffer. Undefined once the caller went away; what still arrives is skipped then. */
  into: Uint8Array | undefined
  /** READ with structured replies only. */
  readonly coverage: ReadCoverage | undefined
  /** BLOCK_STATUS only: what arrived, by context id. */
  readonly contexts: Map<number, readonly StatusRun[]> | undefined
  /** First error chunk of the reply. */
  failure: PlatformError | undefined
}
