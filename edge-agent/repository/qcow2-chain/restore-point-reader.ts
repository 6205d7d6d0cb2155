import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import type { ChunkIds } from '../../mover/chunk-ids.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import type { BlockNode, StorageExport } from '../../qemu/storage-daemon.ts'
import { repositorySource } from '../repository-disk.ts'
import { restorePointNotFound } from '../repository-errors.ts'
import type { RestorePointReader } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import type { ChainContext } from './chain-context.ts'
import { startChainDaemon } from './chain-daemon.ts'
import { expectLayer, readOnlyChain } from './layer-graph.ts'
import { loadChunkIds } from './page-store.ts'
import type { PlacedLayers } from './placement-store.ts'

/** A restore point whose layers are merged while it is opened is looked for again, so often at most. */
const LOOKS_MAX = 10

/**
 * Opens a sealed restore point: one daemon, one export a disk. It reads on when it is deleted or its layers are merged
 * meanwhile: the daemon has them open. Errors of the system pass untranslated.
 */
export async function openChainReader(
  context: ChainContext,
  sealed: SealedManifest,
  call: CallOptions,
): Promise<RestorePointReader> {
  for (let look = 1; ; look += 1) {
    const { revision, layers } = await context.placements.find(sealed)
    try {
      return await openPlaced(context, sealed, layers, call)
    } catch (error) {
      call.signal.throwIfAborted()
      const { restorePointId } = sealed.manifest
      if ((await context.manifests.find(restorePointId)) === undefined) throw restorePointNotFound(restorePointId)
      if (look === LOOKS_MAX || (await context.placements.find(sealed)).revision === revision) throw error
    }
  }
}

async function openPlaced(
  context: ChainContext,
  sealed: SealedManifest,
  placed: PlacedLayers,
  call: CallOptions,
): Promise<RestorePointReader> {
  const nodes: BlockNode[] = []
  const exports: StorageExport[] = []
  const ids = new Map<string, ChunkIds>()
  for (const [index, disk] of sealed.manifest.disks.entries()) {
    const layers = placed.get(disk.diskId) ?? []
    for (const layer of layers) await expectLayer(context, layer, disk.sizeBytes)
    ids.set(disk.diskId, await loadChunkIds(context.dir, disk, call.signal))
    const chain = readOnlyChain(context, layers, `d${index}`)
    nodes.push(...chain.nodes)
    if (chain.top !== null) exports.push({ name: disk.diskId, nodeName: chain.top, writable: false })
  }
  await using undo = new AsyncDisposableStack()
  const layers = [...placed.values()].flat()
  const daemon = undo.use(await startChainDaemon(context, { nodes, exports, layers }, call))
  const disks = new Map<string, { source: BlockSource; chunkIds: ChunkIds }>()
  for (const [diskId, chunkIds] of ids) {
    const source = await openNbdSource(daemon.endpoint(diskId), call)
    disks.set(diskId, { source: undo.use(repositorySource(source, `disk ${diskId} of the restore point`)), chunkIds })
  }
  const owned = undo.move()
  return { sealed, disks, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}
