import { randomBytes } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import type { BlockOpener } from '../../block/block-opener.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import { ChunkIds } from '../../mover/chunk-ids.ts'
import { ChunkSinkAddress, ChunkSourceAddress } from './chunk-disk-address.ts'
import { PACK_ID_BYTES } from './format/identity-bytes.ts'
import { packBufferBytes } from './format/pack-builder.ts'
import { IndexView } from './index/chunk-index.ts'
import { chunkSource } from './read/chunk-source.ts'
import { DiskMap } from './read/disk-map.ts'
import { ThreadStores } from './thread-stores.ts'
import { chunkDiskSink } from './write/chunk-disk-sink.ts'
import { PackBuffers } from './write/pack-buffers.ts'
import { PackReporter } from './write/pack-reports.ts'
import { PackWriter } from './write/pack-writer.ts'

const stores = new ThreadStores()
/** By the length of a buffer. */
const buffersOf = new Map<number, PackBuffers>()

/** Opens disks of chunk repositories in the thread that imports this module. */
export const blockOpener: BlockOpener = { openSource, openSink }

async function openSource(address: unknown, options: CallOptions): Promise<BlockSource> {
  const parsed = parse(ChunkSourceAddress, address)
  const { diskId, repositoryId, sizeBytes, chunkSizeBytes, epochs } = parsed
  const borrowed = await stores.borrow(parsed.store, options)
  const source = chunkSource({
    diskId,
    repositoryId,
    store: borrowed.store,
    keys: { epochKey: (epoch) => keyOf(epochs, epoch) },
    map: new DiskMap(parsed.map),
    chunkIds: new ChunkIds(sizeBytes, chunkSizeBytes, parsed.chunkIds),
  })
  return {
    sizeBytes,
    extents: (range, call) => source.extents(range, call),
    read: async (offsetBytes, into, call) => await source.read(offsetBytes, into, call),
    [Symbol.asyncDispose]: async () => {
      await source[Symbol.asyncDispose]()
      await borrowed[Symbol.asyncDispose]()
    },
  }
}

async function openSink(address: unknown, options: CallOptions): Promise<BlockSink> {
  const { store: config, channel, diskId, index, memoryBytes, ...parsed } = parse(ChunkSinkAddress, address)
  const { packSizeBytes, chunkSizeBytes, protection, ...settings } = parsed
  const borrowed = await stores.borrow(config, options)
  const known = new IndexView(index)
  const reporter = new PackReporter(channel, diskId)
  const writer = new PackWriter({
    store: borrowed.store,
    settings: { ...settings, packSizeBytes, chunkSizeBytes, ...(protection === undefined ? {} : { protection }) },
    buffers: packBuffers(packBufferBytes(packSizeBytes, chunkSizeBytes), memoryBytes),
    isKnown: (id) => known.has(id),
    onDurable: async (pack) => await reporter.report(pack),
    newPackId: () => randomBytes(PACK_ID_BYTES).toString('hex'),
    tellSha256: config.kind !== 'directory',
    ended: reporter.ended,
  })
  const sink = chunkDiskSink(parsed.sizeBytes, writer)
  return {
    ...sink,
    [Symbol.asyncDispose]: async () => {
      await sink[Symbol.asyncDispose]()
      reporter[Symbol.dispose]()
      await borrowed[Symbol.asyncDispose]()
    },
  }
}

function packBuffers(bufferBytes: number, memoryBytes: number): PackBuffers {
  const known = buffersOf.get(bufferBytes) ?? new PackBuffers({ bufferBytes, memoryBytes })
  buffersOf.set(bufferBytes, known)
  return known
}

function keyOf(epochs: readonly { readonly epoch: number; readonly key: Uint8Array }[], wanted: number): Uint8Array {
  const found = epochs.find(({ epoch }) => epoch === wanted)
  if (found === undefined) throw new PlatformError('repository.key_missing', `there is no key of epoch ${wanted}`)
  return found.key
}

/** The message names fields, not what is in them. */
function parse<T>(schema: z.ZodType<T>, address: unknown): T {
  const parsed = schema.safeParse(address)
  if (parsed.success) return parsed.data
  const fields = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
  throw new PlatformError('input.invalid', `not the address of a disk in a chunk repository: ${fields}`)
}
