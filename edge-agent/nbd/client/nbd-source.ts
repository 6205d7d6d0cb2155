import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { expectOnDisk } from '../../block/block-range.ts'
import type { BlockExtent, BlockSource, CallOptions } from '../../block/block-source.ts'
import { mergeContexts } from '../wire/block-status.ts'
import { BASE_ALLOCATION, NBD_CMD_BLOCK_STATUS, NBD_CMD_CACHE, NBD_FLAG_SEND_CACHE } from '../wire/nbd-constants.ts'
import { protocolViolation, toSourceError } from '../wire/nbd-errors.ts'
import { alignOutwards, cutRange, cutStatus } from './nbd-ranges.ts'
import type { NbdRequester } from './nbd-requester.ts'
import { readRange } from './nbd-transfer.ts'
import { type NbdOpenOptions, openConnectionGroup } from './open-connection-group.ts'
import { openersMaxOf } from './openers-max.ts'

/** A disk read through an NBD export. Medium errors are `source.read_failed` with `details.offsetBytes`. */
export interface NbdSource extends BlockSource {
  readonly endpoint: NbdEndpoint
  /**
   * Tells the server that the range will be read soon. Does nothing where the server cannot use that; what it says of it
   * is no error. Rejects with `input.invalid` when the range leaves the disk, `nbd.*` on a broken connection.
   */
  cache(range: Extent, options: CallOptions): Promise<void>
}

/**
 * Connects to the export. The endpoint's dirty context, if it names one, tells the dirty extents. A connection that is
 * lost later is replaced as the endpoint's `reconnect` says, and everything that was asked on it is asked again.
 * Rejects with `nbd.*` or the signal's reason.
 */
export async function openNbdSource(endpoint: NbdEndpoint, options: NbdOpenOptions): Promise<NbdSource> {
  const connection = await openConnectionGroup(endpoint, options)
  return {
    sizeBytes: connection.session.sizeBytes,
    endpoint,
    openersMax: openersMaxOf(endpoint, connection.session),
    extents: (range, call) => readExtents(connection, endpoint, range, call),
    read: async (offsetBytes, into, call) => {
      call.signal.throwIfAborted()
      expectOnDisk(connection.session.sizeBytes, offsetBytes, into.length)
      try {
        await readRange(connection, { offsetBytes, lengthBytes: into.length }, into, call)
      } catch (error) {
        throw toSourceError(error)
      }
    },
    cache: async (range, call) => await cacheRange(connection, range, call),
    [Symbol.asyncDispose]: async () => await connection[Symbol.asyncDispose](),
  }
}

async function* readExtents(
  connection: NbdRequester,
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
  for (const window of cutStatus(connection.session, range)) {
    let at = window.offsetBytes
    while (at < endOf(window)) {
      const before = at
      const wanted = { offsetBytes: at, lengthBytes: endOf(window) - at }
      const asked = alignOutwards(connection.session, wanted)
      const answer = await asSource(async () => {
        return await connection.request({ command: NBD_CMD_BLOCK_STATUS, ...asked, signal })
      })
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

/** Failures of the disk are no failures here: nothing but speed depends on it. */
async function cacheRange(connection: NbdRequester, range: Extent, { signal }: CallOptions): Promise<void> {
  signal.throwIfAborted()
  const { session } = connection
  expectOnDisk(session.sizeBytes, range.offsetBytes, range.lengthBytes)
  if ((session.flags & NBD_FLAG_SEND_CACHE) === 0 || range.lengthBytes === 0) return
  for (const piece of cutRange(alignOutwards(session, range))) {
    try {
      await connection.request({ command: NBD_CMD_CACHE, ...piece, signal })
    } catch (error) {
      if (!isPlatformError(toSourceError(error), 'source.read_failed')) throw error
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
