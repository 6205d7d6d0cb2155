import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockOpener } from '../../block/block-opener.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import { ChunkIds } from '../../mover/chunk-ids.ts'
import { BlockOpeners } from '../../mover/threads/block-openers.ts'
import { CopiedDiskAddress } from './copied-disk-address.ts'
import { checkedDisk } from './copied-disk.ts'

/** Opens disks that are copied between repositories in the thread that imports this module. */
export const blockOpener: BlockOpener = {
  openSource,
  openSink: async () => {
    throw new PlatformError('input.invalid', 'a disk that is copied is only read')
  },
}

async function openSource(address: unknown, options: CallOptions): Promise<BlockSource> {
  const parsed = CopiedDiskAddress.safeParse(address)
  if (!parsed.success) {
    const fields = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
    throw new PlatformError('input.invalid', `not the address of a disk to be copied: ${fields}`)
  }
  const { disk, openers, place, sizeBytes, chunkSizeBytes, chunkIds, baseIds, idKey } = parsed.data
  const source = await new BlockOpeners(openers).openSource(disk, options)
  return checkedDisk({
    source,
    place,
    chunkIds: new ChunkIds(sizeBytes, chunkSizeBytes, chunkIds),
    ...(baseIds === undefined ? {} : { baseIds: new ChunkIds(sizeBytes, chunkSizeBytes, baseIds) }),
    idKey,
  })
}
