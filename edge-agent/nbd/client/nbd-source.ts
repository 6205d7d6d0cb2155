import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { expectOnDisk } from '../../block/block-range.ts'
import type { BlockExtent, BlockSource, CallOptions } from '../../block/block-source.ts'
import { mergeContexts } from '../wire/block-status.ts'
import { BASE_ALLOCATION, NBD_CMD_BLOCK_STATUS } from '../wire/nbd-constants.ts'
import { protocolViolation, toSourceError } from '../wire/nbd-errors.ts'
import { type NbdConnection, type NbdConnectOptions, openNbdConnection } from './nbd-connection.ts'
import { alignOutwards, cutRange } from './nbd-ranges.ts'
import { readRange } from './nbd-transfer.ts'

/** A disk read through an NBD export. Medium errors are `source.read_failed` with `details.offsetBytes`. */
export interface NbdSource extends BlockSource {
  readonly endpoint: NbdEndpoint
}

/**
 * Connects to the export. The endpoint's dirty context, if it names one, tells the dirty extents.
 * Rejects with `nbd.*` or the signal's reason.
 */
export async function openNbdSource(endpoint: NbdEndpoint, options: NbdConnectOptions): Promise<NbdSource> {
  const connection = await openNbdConnection(endpoint, options)
  return {
    sizeBytes: connection.session.sizeBytes,
    endpoint,
    extents: (range, call) => readExtents(connection, endpoint, range, call),
    read: async (offsetBytes, into, call) => {
      call.signal.throwIfAborted()
      expectOnDisk(connection.session.sizeBytes, offsetBytes, into.length)
      await asSource(async () => await readRange(connection, { offsetBytes, lengthBytes: into.length }, into, call))
    },
    [Symbol.asyncDispose]: async () => await connection[Symbol.asyncDispose](),
  }
}

async function* readExtents(
  connection: NbdConnection,
  { dirtyContext }: NbdEndpoint,
  range: Extent,
  { signal }: CallOptions,
): AsyncGenerator<BlockExtent> {
  signal.throwIfAborted()
  expectOnDisk(connection.session.sizeBytes, range.offsetBytes, range.lengthBytes)
  const { contextIds } = connection.session
  if (contextIds.size === 0) {
    if (range.lengthBytes > 0) yield { ...range, zero: false, dirty: true }
    return
  }
  const dirtyId = dirtyContext === undefined ? undefined : contextIds.get(dirtyContext)
  const allocationId = contextIds.get(BASE_ALLOCATION)
  for (const window of cutRange(range)) {
    let at = window.offsetBytes
    while (at < endOf(window)) {
      const before = at
      const wanted = { offsetBytes: at, lengthBytes: endOf(window) - at }
      const asked = alignOutwards(connection.session, wanted)
      const answer = await asSource(async () => {
        return await connection.request({ command: NBD_CMD_BLOCK_STATUS, ...asked, signal })
      })
      const missing = [allocationId, dirtyId].find((id) => id !== undefined && !answer.has(id))
      if (missing !== undefined) throw protocolViolation(`a block status without context ${missing}`)
      const allocation = allocationId === undefined ? undefined : answer.get(allocationId)
      const dirty = dirtyId === undefined ? undefined : answer.get(dirtyId)
      for (const extent of mergeContexts(asked, allocation, dirty)) {
        const start = Math.max(extent.offsetBytes, wanted.offsetBytes)
        const end = Math.min(endOf(extent), endOf(wanted))
        if (start >= end) continue
        yield { ...extent, offsetBytes: start, lengthBytes: end - start }
        at = end
      }
      if (at === before) throw protocolViolation(`a block status that ends before byte ${at}`)
    }
  }
}

async function asSource<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toSourceError(error)
  }
}
