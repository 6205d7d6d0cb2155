import { setImmediate as nextTurn } from 'node:timers/promises'
import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockEndpoint } from '../../block/block-endpoint.ts'
import type { BlockOpenerUrls } from '../../block/block-opener.ts'
import { expectOnDisk } from '../../block/block-range.ts'
import type { BlockExtent, BlockSource, CallOptions } from '../../block/block-source.ts'
import { CHUNK_ID_BYTES, type ChunkIds } from '../../mover/chunk-ids.ts'
import { verifiedSource } from '../verified-source.ts'
import { COPIED_DISK_OPENER, type CopiedDiskAddress, type CopiedDiskPlace } from './copied-disk-address.ts'
import { wholeChunkSource } from './whole-chunk-source.ts'

/** Chunks that are compared before others get the thread again. */
const CHUNKS_A_TURN = 65_536

export interface CheckedDiskParts {
  readonly source: BlockSource
  readonly place: CopiedDiskPlace
  /** Of the disk. */
  readonly chunkIds: ChunkIds
  /** Of what the target has already, with the same key and chunk size. Absent: all of the disk is dirty. */
  readonly baseIds?: ChunkIds
  /** Of these ids. */
  readonly idKey: Uint8Array
}

/**
 * A disk as it is copied out of a repository: each chunk is checked against its id before a byte of it is given out, and
 * dirty are the chunks whose id is not that of the base. A damaged chunk is `repository.chunk_corrupt` with the disk, the
 * range, and this repository in its details. It owns `source`.
 */
export function checkedDisk({ source, place, chunkIds, baseIds, idKey }: CheckedDiskParts): BlockSource {
  const checked = wholeChunkSource(verifiedSource(source, { chunkIds, idKey }), chunkIds.chunkSizeBytes)
  return {
    sizeBytes: source.sizeBytes,
    extents: (range, options) =>
      baseIds === undefined ? checked.extents(range, options) : changedExtents(chunkIds, baseIds, range, options),
    read: async (offsetBytes, into, options) => {
      try {
        await checked.read(offsetBytes, into, options)
      } catch (error) {
        throw placedDamage(error, place)
      }
    },
    [Symbol.asyncDispose]: async () => await checked[Symbol.asyncDispose](),
  }
}

/**
 * The same, which the mover's threads can open too where they can open `source`.
 * @param openers modules that open the disks of the repository in the mover's threads, by name
 */
export function copiedDisk(parts: CheckedDiskParts & { readonly openers: BlockOpenerUrls }): BlockSource {
  const { source, place, openers } = parts
  const disk = checkedDisk(parts)
  const { endpoint, openersMax, translateError } = source
  const translate = (error: unknown): unknown => placedDamage(translateError?.(error) ?? error, place)
  if (endpoint === undefined) return disk
  if (endpoint.kind === 'opener' && openers[endpoint.opener] === undefined) return disk
  return {
    ...disk,
    endpoint: endpointOf(endpoint, parts),
    ...(openersMax === undefined ? {} : { openersMax }),
    translateError: translate,
  }
}

function endpointOf(
  disk: BlockEndpoint,
  { place, chunkIds, baseIds, idKey, openers }: CheckedDiskParts & { readonly openers: BlockOpenerUrls },
): BlockEndpoint {
  const address: CopiedDiskAddress = {
    disk,
    openers,
    place,
    sizeBytes: chunkIds.sizeBytes,
    chunkSizeBytes: chunkIds.chunkSizeBytes,
    chunkIds: chunkIds.bytes.buffer,
    ...(baseIds === undefined ? {} : { baseIds: baseIds.bytes.buffer }),
    idKey: Uint8Array.from(idKey),
  }
  return { kind: 'opener', opener: COPIED_DISK_OPENER, address }
}

/** Whether an error says that this repository, and not the one it is copied to, is damaged. */
export function isDamageOf(repositoryId: string, error: unknown): boolean {
  return isPlatformError(error, 'repository.chunk_corrupt') && error.details['repositoryId'] === repositoryId
}

/** Damage, with the place where it is. Anything else is returned as it is. */
export function placedDamage(
  error: unknown,
  place: Pick<CopiedDiskPlace, 'repositoryId' | 'restorePointId'> & Partial<CopiedDiskPlace>,
): unknown {
  if (!isPlatformError(error, 'repository.chunk_corrupt') || isDamageOf(place.repositoryId, error)) return error
  const disk = place.diskId === undefined ? '' : `disk ${place.diskId} of `
  const text = `${disk}restore point ${place.restorePointId} is damaged: ${error.message}`
  return new PlatformError(error.code, text, { cause: error, details: { ...error.details, ...place } })
}

async function* changedExtents(
  chunkIds: ChunkIds,
  baseIds: ChunkIds,
  range: Extent,
  { signal }: CallOptions,
): AsyncGenerator<BlockExtent> {
  signal.throwIfAborted()
  const { chunkSizeBytes, sizeBytes } = chunkIds
  expectOnDisk(sizeBytes, range.offsetBytes, range.lengthBytes)
  const [now, before] = [Buffer.from(chunkIds.bytes.buffer), Buffer.from(baseIds.bytes.buffer)]
  const isDirty = (index: number): boolean => {
    const [start, end] = [index * CHUNK_ID_BYTES, (index + 1) * CHUNK_ID_BYTES]
    return now.compare(before, start, end, start, end) !== 0
  }
  const endBytes = endOf(range)
  let looked = 0
  for (let start = range.offsetBytes; start < endBytes;) {
    let index = Math.floor(start / chunkSizeBytes)
    const [dirty, zero] = [isDirty(index), chunkIds.isZero(index)]
    do {
      index += 1
      looked += 1
      if (looked % CHUNKS_A_TURN === 0) await nextTurn(undefined, { signal })
    } while (index * chunkSizeBytes < endBytes && isDirty(index) === dirty && chunkIds.isZero(index) === zero)
    const stop = Math.min(index * chunkSizeBytes, endBytes)
    yield { offsetBytes: start, lengthBytes: stop - start, zero, dirty }
    start = stop
  }
}
