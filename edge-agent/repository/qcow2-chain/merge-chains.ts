import assert from 'node:assert/strict'
import { mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isPlatformError, type PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { DeleteOptions } from '../repository.ts'
import type { ChainContext } from './chain-context.ts'
import { mergeLayers } from './merge-layers.ts'
import { findRuns, isWorthMerging, type LayerRun, replaceRun } from './merge-plan.ts'
import { type ChainPoint, readChainPoints } from './placed-points.ts'
import type { RestorePointPlacement } from './placement-store.ts'
import { listChainFiles, removeUnreferenced } from './remove-unreferenced.ts'

export interface MergeChains {
  /** Its lock is held. */
  readonly vmId: string
  /** Under `.partial`, named as the lock says. */
  readonly workDir: string
  /** Also what frees little; for chains that must become shorter. */
  readonly atAnyCost: boolean
}

/**
 * Removes what no restore point of the VM refers to, and merges neighbours of which the lower is no restore point's own
 * any more. Rejects without having removed anything where a manifest or placement cannot be read, and with what
 * `mergeLayers` rejects with; what was merged before stays merged. A damaged run keeps no other from being merged.
 */
export async function mergeChains(
  context: ChainContext,
  { vmId, workDir, atAnyCost }: MergeChains,
  options: DeleteOptions,
): Promise<void> {
  try {
    let points = await removeUnneeded(context, vmId, options)
    context.crashPoint('unneeded-removed')
    while (await finishSwitches(context, points, workDir)) points = await removeUnneeded(context, vmId, options)
    const damaged = new Map<string, PlatformError>()
    for (;;) {
      const run = await nextRun(context, points, { atAnyCost, except: damaged })
      if (run === undefined) break
      try {
        await replaceLayers(context, run, { vmId, workDir, points }, options)
      } catch (error) {
        if (!isPlatformError(error, 'repository.chunk_corrupt')) throw error
        damaged.set(run.replaces.join(), error)
      }
      points = await removeUnneeded(context, vmId, options)
      context.crashPoint('old-layers-removed')
    }
    for (const error of damaged.values()) throw error
  } finally {
    await rm(workDir, { recursive: true, force: true })
  }
}

/**
 * Switches the points that a death in the middle of switching has left behind: otherwise the same content would lie there
 * twice, and the chain would have a branch that nobody made. Returns whether there were any.
 */
async function finishSwitches(context: ChainContext, points: readonly ChainPoint[], workDir: string): Promise<boolean> {
  let switched = false
  const behind = new Set(points)
  for (const { merge } of points) {
    if (merge === undefined) continue
    for (const point of behind) {
      if (!(await switchPoint(context, point, { merge, workDir }))) continue
      behind.delete(point)
      switched = true
    }
  }
  return switched
}

async function removeUnneeded(context: ChainContext, vmId: string, { signal }: DeleteOptions): Promise<ChainPoint[]> {
  const files = await listChainFiles(context, vmId)
  const points = await readChainPoints(context, vmId, signal)
  await removeUnreferenced(context, files, points)
  return points
}

async function nextRun(
  { dir }: ChainContext,
  points: readonly ChainPoint[],
  { atAnyCost, except }: { readonly atAnyCost: boolean; readonly except: ReadonlyMap<string, unknown> },
): Promise<LayerRun | undefined> {
  for (const run of findRuns(points)) {
    if (except.has(run.replaces.join())) continue
    if (atAnyCost || isWorthMerging(await sizesOf(dir, run))) return run
  }
  return undefined
}

/** What each layer of the run takes on the storage, in bytes. */
async function sizesOf(dir: string, { replaces }: LayerRun): Promise<number[]> {
  const sizes: number[] = []
  // st_blocks counts units of 512 bytes (stat(2)), whatever the file system's block size.
  for (const layer of replaces) sizes.push((await stat(join(dir, layer))).blocks * 512)
  return sizes
}

export interface ReplaceLayers {
  readonly vmId: string
  readonly workDir: string
  /** All of the VM. */
  readonly points: readonly ChainPoint[]
}

/**
 * Merges a run and switches every restore point that has it to the new layer, one after the other: each is whole before
 * and after. The old layers stay until nothing refers to them.
 */
export async function replaceLayers(
  context: ChainContext,
  run: LayerRun,
  { vmId, workDir, points }: ReplaceLayers,
  { signal, onProgress }: DeleteOptions,
): Promise<void> {
  const proof = points.find(({ restorePointId }) => restorePointId === run.restorePointId)
  const disk = proof?.sealed.manifest.disks.find(({ diskId }) => diskId === run.diskId)
  assert(disk !== undefined, 'a run is of a disk of one of the points')
  const totalBytes = (await sizesOf(context.dir, run)).reduce((sum, size) => sum + size, 0)
  let doneBytes = 0
  const onCopied = (bytes: number): void => {
    doneBytes += bytes
    onProgress?.({ doneBytes, totalBytes: Math.max(doneBytes, totalBytes) })
  }
  const merged = await mergeLayers(context, run, { vmId, disk, workDir, onCopied, signal })
  // From here on it is finished: a few small files, and stopping would leave the same content twice.
  const merge = { diskId: run.diskId, replaces: [...run.replaces], layer: merged }
  for (const point of points) await switchPoint(context, point, { merge, workDir })
  context.crashPoint('points-switched')
}

async function switchPoint(
  context: ChainContext,
  { sealed, revision, layers }: ChainPoint,
  { merge, workDir }: { readonly merge: RestorePointPlacement['merge']; readonly workDir: string },
): Promise<boolean> {
  const chain = layers.get(merge.diskId)
  const replaced = chain === undefined ? undefined : replaceRun(chain, merge, merge.layer)
  if (replaced === undefined) return false
  await mkdir(workDir, { recursive: true, mode: 0o700 })
  const { repositoryId, vmId, restorePointId } = sealed.manifest
  const placement = {
    version: 1 as const,
    repositoryId,
    vmId,
    restorePointId,
    manifestHash: sealed.manifestHash,
    revision: revision + 1,
    placedAt: context.clock.now().toISOString(),
    disks: [...new Map([...layers, [merge.diskId, replaced]])].map(([diskId, placed]) => ({
      diskId,
      layers: [...placed],
    })),
    merge,
  }
  const onWritten = (): void => context.crashPoint('placement-written')
  await context.placements.seal(placement, join(workDir, 'placement.json'), onWritten)
  context.crashPoint('placement-durable')
  return true
}
