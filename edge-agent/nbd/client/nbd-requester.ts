import type { NbdSession } from './handshake.ts'
import type { NbdAnswer, NbdRequest } from './in-flight-request.ts'

/** Whoever sends requests to one export: a connection, or several that stand in for each other. */
export interface NbdRequester extends AsyncDisposable {
  readonly session: NbdSession
  /** Rejects with `nbd.*`, `input.invalid` or the signal's reason; the caller's buffers are its own again then. */
  request(request: NbdRequest): Promise<NbdAnswer>
}
