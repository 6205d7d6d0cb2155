import { AssertionError } from 'node:assert/strict'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_READ,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EPERM,
  NBD_ESHUTDOWN,
} from '../wire/nbd-constants.ts'
import { encodeError, encodeNone, encodeSimpleReply } from '../wire/reply-encoding.ts'
import type { RequestFault } from './request-check.ts'
import { serveBlockStatus } from './serve-block-status.ts'
import { NotFastError, serveChange } from './serve-change.ts'
import { serveRead } from './serve-read.ts'
import type { ServedRequest } from './served-request.ts'

/** Codes of disks that are full, wherever they lie. */
const NO_SPACE: ReadonlySet<string> = new Set(['target.no_space', 'repository.no_space', 'nbd.no_space'])

/**
 * Does what a request asks for and resolves with its reply, to be sent in one piece. A failure is a reply too: it never
 * rejects but for a broken invariant.
 */
export async function serveRequest(serving: ServedRequest): Promise<Buffer[]> {
  try {
    const answer = await answerRequest(serving)
    return 'errorNumber' in answer ? replyFault(serving, answer) : answer
  } catch (error) {
    if (error instanceof AssertionError) throw error
    return replyFault(serving, faultOf(error, serving.signal))
  }
}

async function answerRequest(serving: ServedRequest): Promise<Buffer[] | RequestFault> {
  const { request, style } = serving
  if (request.command === NBD_CMD_READ) return await serveRead(serving)
  if (request.command === NBD_CMD_BLOCK_STATUS) return await serveBlockStatus(serving)
  // NBD_CMD_CACHE is a hint; what lies below caches by itself.
  if (request.command !== NBD_CMD_CACHE) await serveChange(serving)
  return style === 'simple' ? [encodeSimpleReply(request.cookie, 0)] : [encodeNone(style, request)]
}

/** The reply that refuses a request. */
export function replyFault(
  { request, style }: Pick<ServedRequest, 'request' | 'style'>,
  { errorNumber, text }: RequestFault,
): Buffer[] {
  if (style === 'simple') return [encodeSimpleReply(request.cookie, errorNumber)]
  return [encodeError(style, request, { errorNumber, text })]
}

/** The reply's error for what a disk rejected with. */
function faultOf(error: unknown, signal: AbortSignal): RequestFault {
  const text = error instanceof Error ? error.message : String(error)
  if (error instanceof NotFastError) return { errorNumber: NBD_ENOTSUP, text }
  if (signal.aborted) return { errorNumber: NBD_ESHUTDOWN, text }
  if (isPlatformError(error) && NO_SPACE.has(error.code)) return { errorNumber: NBD_ENOSPC, text }
  if (isPlatformError(error, 'nbd.read_only')) return { errorNumber: NBD_EPERM, text }
  if (isPlatformError(error, 'input.invalid')) return { errorNumber: NBD_EINVAL, text }
  return { errorNumber: NBD_EIO, text }
}
