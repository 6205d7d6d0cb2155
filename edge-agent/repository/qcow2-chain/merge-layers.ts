import { randomUUID } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import type { ChunkIds } from '../../mover/chunk-ids.ts'
import { openNbdSink } from '../../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import { checkQcow2Image } from '../../qemu/qemu-img.ts'
import type { BlockNode, StorageDaemon, StorageExport } from '../../qemu/storage-daemon.ts'
import type { ManifestDisk } from '../restore-point-manifest.ts'
import { verifiedSource } from '../verified-source.ts'
import type { ChainContext } from './chain-context.ts'
import { startChainDaemon } from './chain-daemon.ts'
import { copyMerged, type MergedRanges, readMergedAgain } from './copy-merged.ts'
import { makeDirectoryDurably, syncDirectory, syncFile } from './durable-file.ts'
import { expectLayer, readOnlyChain, secretOf, writableLayer } from './layer-graph.ts'
import type { LayerRun } from './merge-plan.ts'
import { loadChunkIds } from './page-store.ts'
import { layerPath } from './repository-layout.ts'

export interface MergeOptions extends CallOptions {
  readonly vmId: string
  /** The disk in the manifest of a restore point that reads as the run with what is below it. */
  readonly disk: ManifestDisk
  /** What is being written lies there until it is whole. */
  readonly workDir: string
  /** Called with each piece that was copied. */
  readonly onCopied: (bytes: number) => void
}

const WHOLE = 'whole'
const MERGED = 'merged'

/**
 * Writes one new layer that takes the place of a run. Every chunk is checked against its id when it is read from the old
 * layers, and again when it is read back from the new file. The old layers stay as they are.
 * @returns its path relative to the repository; it is durable, and no restore point refers to it
 * @throws PlatformError `repository.chunk_corrupt` where the old layers do not hold what they should;
 *   `repository.no_space` and other errors of the system untranslated. Then no new layer is left.
 */
export async function mergeLayers(context: ChainContext, run: LayerRun, options: MergeOptions): Promise<string> {
  const { vmId, disk, workDir, signal } = options
  for (const layer of [...run.replaces, ...run.below]) {
    await expectLayer(context, layer, disk.sizeBytes)
  }
  const chunkIds = await loadChunkIds(context.dir, disk, signal)
  const partialPath = resolve(workDir, `${run.diskId}.qcow2`)
  const merged = layerPath(vmId, run.diskId, randomUUID())
  const path = join(context.dir, merged)
  await mkdir(workDir, { recursive: true, mode: 0o700 })
  try {
    const ranges = await writeMerged(context, run, { ...options, chunkIds, partialPath })
    await makeDirectoryDurably(context.dir, dirname(path))
    await rename(partialPath, path)
    context.crashPoint('merged-renamed')
    await syncDirectory(dirname(path))
    await readBack(context, [merged, ...run.below], { chunkIds, ranges, diskId: run.diskId, signal })
    context.crashPoint('merged-checked')
    return merged
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await rm(partialPath, { force: true })
  }
}

interface WriteOptions extends MergeOptions {
  readonly chunkIds: ChunkIds
  readonly partialPath: string
}

async function writeMerged(context: ChainContext, run: LayerRun, options: WriteOptions): Promise<MergedRanges> {
  const { chunkIds, partialPath, onCopied, signal } = options
  const { idKey } = context
  const backing = run.below[0] === undefined ? {} : { backingName: basename(run.below[0]) }
  await rm(partialPath, { force: true })
  await context.createImage(
    { path: partialPath, sizeBytes: options.disk.sizeBytes, ...backing, ...secretOf(context) },
    { signal },
  )
  const layers = [...run.replaces, ...run.below]
  await using daemon = await startChainDaemon(context, { ...graphOf(context, run, partialPath), layers }, { signal })
  let ranges: MergedRanges
  {
    const source = await openNbdSource(daemon.endpoint(WHOLE), { signal })
    await using whole = verifiedSource(source, { chunkIds, idKey })
    await using sink = await openNbdSink(daemon.endpoint(MERGED), { signal })
    await using own = await openOwnLayers(daemon, run, { signal })
    const isBottom = run.below.length === 0
    ranges = await copyMerged({ whole, sink, layers: own.sources, isBottom, chunkIds, onCopied }, { signal })
    await sink.flush({ signal })
  }
  context.crashPoint('merge-copied')
  await daemon.stop({ signal })
  const report = await checkQcow2Image(partialPath, { signal, secret: context.layerSecret })
  if (report.corruptions > 0) {
    throw new PlatformError('repository.io_failed', `the merged layer of disk ${run.diskId} is damaged`, {
      details: { diskId: run.diskId, output: report.output.slice(0, 500) },
    })
  }
  await syncFile(partialPath)
  context.crashPoint('merge-synced')
  return ranges
}

/** The whole content, each layer of the run alone with what it holds itself, and the new layer over what stays below. */
function graphOf(
  context: ChainContext,
  run: LayerRun,
  partialPath: string,
): { nodes: BlockNode[]; exports: StorageExport[] } {
  const whole = readOnlyChain(context, [...run.replaces, ...run.below], 'w')
  const below = run.below.length === 0 ? null : (whole.nodes[run.below.length - 1]?.['node-name'] ?? null)
  const nodes = [...whole.nodes, writableLayer(context, { path: partialPath, name: MERGED, backing: below })]
  const exports: StorageExport[] = [
    { name: WHOLE, nodeName: whole.top ?? '', writable: false },
    { name: MERGED, nodeName: MERGED, writable: true },
  ]
  for (const [index, layer] of ownLayersOf(run).entries()) {
    const alone = readOnlyChain(context, [layer], `s${index}`)
    nodes.push(...alone.nodes)
    exports.push({ name: ownExport(index), nodeName: alone.top ?? '', writable: false, allocationDepth: true })
  }
  return { nodes, exports }
}

/** At the bottom all that is not zeros is copied; only above others it matters what a layer holds itself. */
function ownLayersOf({ replaces, below }: LayerRun): readonly string[] {
  return below.length === 0 ? [] : replaces
}

async function openOwnLayers(
  daemon: StorageDaemon,
  run: LayerRun,
  call: CallOptions,
): Promise<AsyncDisposable & { readonly sources: readonly BlockSource[] }> {
  await using undo = new AsyncDisposableStack()
  const sources: BlockSource[] = []
  for (const index of ownLayersOf(run).keys()) {
    sources.push(undo.use(await openNbdSource(daemon.endpoint(ownExport(index)), call)))
  }
  const owned = undo.move()
  return { sources, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}

function ownExport(index: number): string {
  return `own-${index}`
}

interface ReadBack extends CallOptions {
  readonly chunkIds: ChunkIds
  readonly ranges: MergedRanges
  readonly diskId: string
}

/** Whether the new file, opened as any reader would, gives what was written. */
async function readBack(context: ChainContext, layers: readonly string[], options: ReadBack): Promise<void> {
  const { chunkIds, ranges, signal } = options
  const { nodes, top } = readOnlyChain(context, layers, 'm')
  const exports = [{ name: MERGED, nodeName: top ?? '', writable: false }]
  await using daemon = await startChainDaemon(context, { nodes, exports, layers }, { signal })
  const source = await openNbdSource(daemon.endpoint(MERGED), { signal })
  await using merged = verifiedSource(source, { chunkIds, idKey: context.idKey })
  await readMergedAgain(merged, ranges, { signal })
}
