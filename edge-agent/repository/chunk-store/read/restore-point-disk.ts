import type { BlockEndpoint } from '../../../block/block-endpoint.ts'
import type { BlockSource } from '../../../block/block-source.ts'
import type { ChunkIds } from '../../../mover/chunk-ids.ts'
import { repositorySource } from '../../repository-disk.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { CHUNK_DISK_OPENER, type ChunkSourceAddress } from '../chunk-disk-address.ts'
import { chunkSource } from './chunk-source.ts'
import type { DiskMap } from './disk-map.ts'

/** How often one disk is open at a time: each has its own requests to the store. */
const OPENERS_MAX = 64

export interface RestorePointDiskParts {
  readonly diskId: string
  readonly map: DiskMap
  readonly chunkIds: ChunkIds
}

/** A disk of a sealed restore point, which threads can open too where they can open the store. */
export function restorePointDisk(context: ChunkContext, { diskId, map, chunkIds }: RestorePointDiskParts): BlockSource {
  const { store, keys, descriptor } = context
  const { repositoryId } = descriptor
  const source = chunkSource({ diskId, repositoryId, store, keys, map, chunkIds })
  const endpoint = endpointOf(context, { diskId, map, chunkIds })
  const opened: BlockSource = {
    sizeBytes: source.sizeBytes,
    ...(endpoint === undefined ? {} : { endpoint, openersMax: OPENERS_MAX }),
    extents: (range, options) => source.extents(range, options),
    read: async (offsetBytes, into, options) => await source.read(offsetBytes, into, options),
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
  return repositorySource(opened, `disk ${diskId} in the repository`)
}

function endpointOf(
  { storeConfig, descriptor, keys }: ChunkContext,
  { diskId, map, chunkIds }: RestorePointDiskParts,
): BlockEndpoint | undefined {
  if (storeConfig === undefined) return undefined
  const epochs = new Set<number>()
  for (let pack = 0; pack < map.packCount; pack += 1) epochs.add(map.packAt(pack).epoch)
  const address: ChunkSourceAddress = {
    kind: 'source',
    repositoryId: descriptor.repositoryId,
    store: storeConfig,
    diskId,
    sizeBytes: chunkIds.sizeBytes,
    chunkSizeBytes: chunkIds.chunkSizeBytes,
    map: map.shared,
    chunkIds: chunkIds.bytes.buffer,
    epochs: [...epochs].flatMap((epoch) => {
      return keys.epochs.includes(epoch) ? [{ epoch, key: Uint8Array.from(keys.epochKey(epoch)) }] : []
    }),
  }
  return { kind: 'opener', opener: CHUNK_DISK_OPENER, address }
}
