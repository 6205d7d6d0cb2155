import { join } from 'node:path'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import type { ChunkIds } from '../../mover/chunk-ids.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import type { BlockNode, StorageExport } from '../../qemu/storage-daemon.ts'
import { repositorySource } from '../repository-disk.ts'
import type { RestorePointReader } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import type { ChainContext } from './chain-context.ts'
import { startChainDaemon } from './chain-daemon.ts'
import { readOnlyChain } from './layer-graph.ts'
import { loadChunkIds } from './page-store.ts'
import { checkLayerHeader } from './qcow2-header.ts'

/** Opens a sealed restore point: one daemon, one export a disk. Errors of the system pass untranslated. */
export async function openChainReader(
  context: ChainContext,
  sealed: SealedManifest,
  call: CallOptions,
): Promise<RestorePointReader> {
  const nodes: BlockNode[] = []
  const exports: StorageExport[] = []
  const ids = new Map<string, ChunkIds>()
  for (const [index, disk] of sealed.manifest.disks.entries()) {
    const layers = disk.layers ?? []
    for (const layer of layers) await checkLayerHeader(join(context.dir, layer), disk.sizeBytes)
    ids.set(disk.diskId, await loadChunkIds(context.dir, disk, call.signal))
    const chain = readOnlyChain(context.dir, layers, `d${index}`)
    nodes.push(...chain.nodes)
    if (chain.top !== null) exports.push({ name: disk.diskId, nodeName: chain.top, writable: false })
  }
  await using undo = new AsyncDisposableStack()
  const daemon = undo.use(await startChainDaemon(context, { nodes, exports, layers: layersOf(sealed) }, call))
  const disks = new Map<string, { source: BlockSource; chunkIds: ChunkIds }>()
  for (const [diskId, chunkIds] of ids) {
    const source = await openNbdSource(daemon.endpoint(diskId), call)
    disks.set(diskId, { source: undo.use(repositorySource(source, `disk ${diskId} of the restore point`)), chunkIds })
  }
  const owned = undo.move()
  return { sealed, disks, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}

function layersOf({ manifest }: SealedManifest): string[] {
  return manifest.disks.flatMap((disk) => disk.layers ?? [])
}
