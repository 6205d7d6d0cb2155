import { randomUUID } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { CHUNK_ID_BYTES, ChunkIds } from '../../mover/chunk-ids.ts'
import { openNbdSink } from '../../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import type { BlockNode, StorageDaemon, StorageExport } from '../../qemu/storage-daemon.ts'
import { baseDiskOf, baseMismatch, checkNewBackup } from '../new-backup-check.ts'
import { repositorySink, repositorySource } from '../repository-disk.ts'
import type { NewBackup, NewBackupDisk, RepositoryCapacity } from '../repository.ts'
import type { ManifestDisk, SealedManifest } from '../restore-point-manifest.ts'
import { ChainBackupWriter, type ChainWriterDisk } from './backup-writer.ts'
import type { ChainContext } from './chain-context.ts'
import { type ChainDaemonOptions, startChainDaemon } from './chain-daemon.ts'
import { expectLayer, NEW_LAYER_IO_THREADS, readOnlyChain, secretOf, writableLayer } from './layer-graph.ts'
import { loadChunkIds } from './page-store.ts'
import type { PlacedLayers } from './placement-store.ts'
import { folders, layerPath } from './repository-layout.ts'
import { takeVmLock } from './vm-lock.ts'

/** What an empty QCOW2 file, its folders and a manifest take at least, for each disk. */
const DISK_OVERHEAD_BYTES = 1024 * 1024

/** One disk before its daemon runs: what is asked, and what it is built on. */
interface PlannedDisk {
  readonly asked: NewBackupDisk
  readonly base: ManifestDisk | undefined
  readonly partialPath: string
  readonly layers: readonly [string, ...string[]]
}

/** Repository.openBackup for QCOW2 chains. Errors of the system pass untranslated. */
export async function openChainBackup(
  context: ChainContext,
  backup: NewBackup,
  capacity: RepositoryCapacity,
  call: CallOptions,
): Promise<ChainBackupWriter> {
  checkNewBackup(backup)
  expectSpace(context, backup, capacity)
  await using undo = new AsyncDisposableStack()
  const lock = undo.use(await takeVmLock(context.dir, backup.vmId, backup.restorePointId))
  if ((await context.manifests.find(backup.restorePointId)) !== undefined) {
    throw new PlatformError('input.invalid', `restore point ${backup.restorePointId} exists already`)
  }
  const parent = await readParent(context, backup)
  const partialDir = join(context.dir, folders.partial, backup.restorePointId)
  const placed = parent === undefined ? undefined : (await context.placements.find(parent)).layers
  const plans = backup.disks.map((asked) => planDisk(context, { backup, asked, parent, placed, partialDir }))
  await mkdir(partialDir, { recursive: true, mode: 0o700 })
  undo.defer(async () => await rm(partialDir, { recursive: true, force: true }))
  for (const plan of plans) await createLayer(context, plan, call)
  const daemon = undo.use(await startChainDaemon(context, daemonOptions(context, plans), call))
  const disks = new Map<string, ChainWriterDisk>()
  for (const [index, plan] of plans.entries()) {
    const disk = await openDisk(context, plan, { daemon, index, undo, signal: call.signal })
    disks.set(plan.asked.diskId, disk)
  }
  undo.move()
  return new ChainBackupWriter({ context, backup, parent, lock, daemon, partialDir, disks })
}

function expectSpace(context: ChainContext, backup: NewBackup, capacity: RepositoryCapacity): void {
  let neededBytes = 0
  for (const disk of backup.disks) {
    const ids =
      disk.mode === 'full' ? Math.ceil(disk.sizeBytes / context.descriptor.chunkSizeBytes) * CHUNK_ID_BYTES : 0
    neededBytes += DISK_OVERHEAD_BYTES + ids + (disk.expectedBytes ?? 0)
  }
  if (capacity.freeBytes >= neededBytes) return
  const text = `the repository has ${capacity.freeBytes} bytes free, the backup needs at least ${neededBytes}`
  throw new PlatformError('repository.no_space', text, { details: { neededBytes, freeBytes: capacity.freeBytes } })
}

async function readParent(context: ChainContext, backup: NewBackup): Promise<SealedManifest | undefined> {
  if (backup.parentRestorePointId === undefined) return undefined
  const location = await context.manifests.find(backup.parentRestorePointId)
  if (location === undefined) {
    throw baseMismatch(`restore point ${backup.parentRestorePointId} does not exist`, backup.parentRestorePointId)
  }
  return await context.manifests.read(location)
}

interface DiskToPlan {
  readonly backup: NewBackup
  readonly asked: NewBackupDisk
  readonly parent: SealedManifest | undefined
  /** Where the parent's layers are. */
  readonly placed: PlacedLayers | undefined
  readonly partialDir: string
}

function planDisk(context: ChainContext, { backup, asked, parent, placed, partialDir }: DiskToPlan): PlannedDisk {
  // Not the restore point's: a copy of a point that was deleted here has its id, and others may stand on the layer it had.
  const layer = layerPath(backup.vmId, asked.diskId, randomUUID())
  const partialPath = join(partialDir, `${asked.diskId}.qcow2`)
  if (asked.mode === 'full' || parent === undefined) return { asked, base: undefined, partialPath, layers: [layer] }
  const base = baseDiskOf(asked, backup, parent)
  if (base.chunkSizeBytes !== context.descriptor.chunkSizeBytes) {
    throw baseMismatch(
      `disk ${asked.diskId} has chunks of ${base.chunkSizeBytes} bytes`,
      parent.manifest.restorePointId,
    )
  }
  const below = placed?.get(asked.diskId) ?? []
  if (below.length >= context.chainLayersMax) {
    const text = `the chain of disk ${asked.diskId} has ${below.length} layers already: the next backup must be full`
    throw baseMismatch(text, parent.manifest.restorePointId)
  }
  return { asked, base, partialPath, layers: [layer, ...below] }
}

async function createLayer(context: ChainContext, plan: PlannedDisk, call: CallOptions): Promise<void> {
  const { sizeBytes } = plan.asked
  const below = plan.layers.slice(1)
  for (const layer of below) await expectLayer(context, layer, sizeBytes)
  const backing = below[0] === undefined ? {} : { backingName: basename(below[0]) }
  await context.createImage({ path: resolve(plan.partialPath), sizeBytes, ...backing, ...secretOf(context) }, call)
}

function daemonOptions(context: ChainContext, plans: readonly PlannedDisk[]): ChainDaemonOptions {
  const nodes: BlockNode[] = []
  const exports: StorageExport[] = []
  for (const [index, plan] of plans.entries()) {
    const below = plan.layers.slice(1)
    const chain = readOnlyChain(context, below, `d${index}`)
    nodes.push(
      ...chain.nodes,
      writableLayer(context, { path: plan.partialPath, name: `d${index}`, backing: chain.top }),
    )
    exports.push({ name: sinkExport(index), nodeName: `d${index}`, writable: true })
    if (chain.top !== null) exports.push({ name: baseExport(index), nodeName: chain.top, writable: false })
  }
  const layers = plans.flatMap((plan) => plan.layers.slice(1))
  // Reads of layers below may wait for their storage, many at once.
  const ioThreads = layers.length > 0 ? {} : { ioThreadsMax: plans.length * NEW_LAYER_IO_THREADS }
  return { nodes, exports, layers, ...ioThreads }
}

interface OpenDiskOptions extends CallOptions {
  readonly daemon: StorageDaemon
  readonly index: number
  /** Closes what was opened when a later step fails. */
  readonly undo: AsyncDisposableStack
}

async function openDisk(context: ChainContext, plan: PlannedDisk, options: OpenDiskOptions): Promise<ChainWriterDisk> {
  const { asked, base, partialPath, layers } = plan
  const { daemon, index, signal, undo } = options
  const name = `disk ${asked.diskId} in the repository`
  const sink = undo.use(repositorySink(await openNbdSink(daemon.endpoint(sinkExport(index)), { signal }), name))
  const fresh = { diskId: asked.diskId, sink, partialPath, layers }
  if (base === undefined) {
    const chunkIds = new ChunkIds(asked.sizeBytes, context.descriptor.chunkSizeBytes)
    return { ...fresh, chunkIds, knownPages: new Set() }
  }
  const source = undo.use(repositorySource(await openNbdSource(daemon.endpoint(baseExport(index)), { signal }), name))
  const chunkIds = await loadChunkIds(context.dir, base, signal)
  return { ...fresh, base: source, chunkIds, knownPages: new Set(base.pages) }
}

function sinkExport(index: number): string {
  return `sink-${index}`
}

function baseExport(index: number): string {
  return `base-${index}`
}
