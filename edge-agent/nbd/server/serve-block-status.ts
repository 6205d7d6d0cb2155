import type { BlockExtent } from '../../block/block-source.ts'
import type { StatusRun } from '../wire/block-status.ts'
import {
  NBD_CMD_FLAG_REQ_ONE,
  NBD_EINVAL,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
  QEMU_STATE_DIRTY,
} from '../wire/nbd-constants.ts'
import { decodeStatusFilter } from '../wire/received-request.ts'
import { encodeBlockStatus } from '../wire/reply-encoding.ts'
import type { ExportContext } from './nbd-export.ts'
import { findStatusFault, type RequestFault } from './request-check.ts'
import type { ServedRequest } from './served-request.ts'

/** A reply tells no more; the client asks on from where it ended. 512 KiB, or 1 MiB with extended headers, a context. */
export const STATUS_EXTENTS_MAX = 2 ** 16

/**
 * The reply to a BLOCK_STATUS: one chunk a context, of those negotiated or those its payload names. Resolves with a fault
 * where the payload is not in order.
 */
export async function serveBlockStatus(serving: ServedRequest): Promise<Buffer[] | RequestFault> {
  const { request, style, served, signal } = serving
  const asked = request.payloadBytes > 0 ? filtered(serving) : { ...request, contexts: serving.contexts }
  if ('errorNumber' in asked) return asked
  if (style === 'simple') return { errorNumber: NBD_EINVAL, text: 'block status needs structured replies' }
  const isOne = (request.commandFlags & NBD_CMD_FLAG_REQ_ONE) !== 0
  const { offsetBytes, lengthBytes, contexts } = asked
  const options = { extentsMax: isOne ? 2 : STATUS_EXTENTS_MAX, signal }
  const extents = await served.extents.list({ offsetBytes, lengthBytes }, options)
  return contexts.map(({ id, kind }, index) => {
    const runs = kind === 'allocation' ? allocationRuns(extents) : dirtyRuns(extents)
    const isLast = index === contexts.length - 1
    return encodeBlockStatus(style, request, { contextId: id, runs: isOne ? runs.slice(0, 1) : runs, isLast })
  })
}

interface StatusQuestion {
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly contexts: readonly ExportContext[]
}

/** NBD proto.md, branch extension-ext-header, "NBD_CMD_BLOCK_STATUS": unknown and doubled ids are NBD_EINVAL. */
function filtered({ request, bytes, contexts, rules }: ServedRequest): StatusQuestion | RequestFault {
  const filter = decodeStatusFilter(bytes)
  const chosen = filter?.contextIds.map((id) => contexts.find((context) => context.id === id))
  const known = chosen?.filter((context) => context !== undefined)
  if (filter === undefined || known === undefined || known.length !== chosen?.length) {
    return { errorNumber: NBD_EINVAL, text: 'a list of contexts that is broken or names others than those negotiated' }
  }
  const question = { offsetBytes: request.offsetBytes, lengthBytes: filter.lengthBytes, contexts: known }
  return findStatusFault(question, rules) ?? question
}

/**
 * A range of zeros counts as a hole: who writes there may find the disk full (NBD proto.md, "base:allocation").
 */
function allocationRuns(extents: readonly BlockExtent[]): StatusRun[] {
  return runsOf(extents, ({ zero }) => (zero ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0))
}

function dirtyRuns(extents: readonly BlockExtent[]): StatusRun[] {
  return runsOf(extents, ({ dirty }) => (dirty ? QEMU_STATE_DIRTY : 0))
}

function runsOf(extents: readonly BlockExtent[], flagsOf: (extent: BlockExtent) => number): StatusRun[] {
  const found: StatusRun[] = []
  for (const extent of extents) {
    const flags = flagsOf(extent)
    const last = found.at(-1)
    if (last?.flags === flags) found[found.length - 1] = { flags, lengthBytes: last.lengthBytes + extent.lengthBytes }
    else found.push({ lengthBytes: extent.lengthBytes, flags })
  }
  return found
}
