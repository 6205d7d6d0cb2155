import type { CallOptions } from '../../block/block-source.ts'
import type { ReceivedRequest } from '../wire/received-request.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import type { ExportContext, ServedExport } from './nbd-export.ts'
import type { RequestRules } from './request-check.ts'

/** A request that was found to be in order, with what serving it takes. */
export interface ServedRequest extends CallOptions {
  readonly request: ReceivedRequest
  readonly served: ServedExport
  readonly style: ReplyStyle
  /** Those that were negotiated. */
  readonly contexts: readonly ExportContext[]
  readonly rules: RequestRules
  /**
   * Of a request with a payload: the payload. Of a READ: room for all of it. Otherwise empty. Nobody else uses it until
   * the reply has left, which may consist of parts of it.
   */
  readonly bytes: Buffer
}
