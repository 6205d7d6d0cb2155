import type { BlockEndpoint } from '../../../block/block-endpoint.ts'
import type { BlockSink } from '../../../block/block-sink.ts'
import { repositorySink } from '../../repository-disk.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { CHUNK_DISK_OPENER, type ChunkSinkAddress } from '../chunk-disk-address.ts'
import type { BackupSession } from './backup-session.ts'
import { chunkDiskSink } from './chunk-disk-sink.ts'

/** How often one disk is open at a time, each with packs of its own. */
const OPENERS_MAX = 64

export interface SessionDisk {
  readonly diskId: string
  readonly sizeBytes: number
  readonly newPackId: () => string
}

/** A disk of a session, which threads can open too where they can open the store. */
export function sessionDiskSink(context: ChunkContext, session: BackupSession, disk: SessionDisk): BlockSink {
  const sink = chunkDiskSink(disk.sizeBytes, session.newPackWriter(disk.diskId))
  const endpoint = endpointOf(context, session, disk)
  const addressed = endpoint === undefined ? sink : { ...sink, endpoint, openersMax: OPENERS_MAX }
  return repositorySink(addressed, `disk ${disk.diskId} in the repository`)
}

function endpointOf(
  { storeConfig, settings }: ChunkContext,
  session: BackupSession,
  { diskId, sizeBytes }: SessionDisk,
): BlockEndpoint | undefined {
  if (storeConfig === undefined) return undefined
  const { epochKey, protection, ...packs } = session.packSettings
  const address: ChunkSinkAddress = {
    kind: 'sink',
    store: storeConfig,
    diskId,
    sizeBytes,
    channel: session.channel,
    index: session.index.share(),
    ...packs,
    epochKey: Uint8Array.from(epochKey),
    ...(protection === undefined ? {} : { protection }),
    memoryBytes: settings.writeBytesPerThread,
  }
  return { kind: 'opener', opener: CHUNK_DISK_OPENER, address }
}
