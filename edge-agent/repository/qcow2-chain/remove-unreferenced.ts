import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { ChainContext } from './chain-context.ts'
import { referencedLayers } from './merge-plan.ts'
import { type ChainPoint } from './placed-points.ts'
import type { PlacementLocation } from './placement-store.ts'
import { folders, parseLayerPath } from './repository-layout.ts'

/** Files of a VM that may have no restore point. */
export interface ChainFiles {
  /** As manifests name them; files of other names are not ours to judge. */
  readonly layers: readonly string[]
  readonly placements: readonly PlacementLocation[]
}

export async function listChainFiles(context: ChainContext, vmId: string): Promise<ChainFiles> {
  const layers: string[] = []
  for (const diskId of await namesIn(join(context.dir, folders.layers, vmId))) {
    for (const file of await namesIn(join(context.dir, folders.layers, vmId, diskId))) {
      const path = `${folders.layers}/${vmId}/${diskId}/${file}`
      if (parseLayerPath(path) !== undefined) layers.push(path)
    }
  }
  return { layers, placements: await context.placements.list(vmId) }
}

/**
 * Removes of these files what none of `points`, which are all of the VM, refers to: layers, superseded placements, and
 * those of restore points that are gone.
 * @returns bytes that came free
 */
export async function removeUnreferenced(
  context: ChainContext,
  files: ChainFiles,
  points: readonly ChainPoint[],
): Promise<number> {
  const referenced = referencedLayers(points)
  let freedBytes = 0
  for (const layer of files.layers) {
    if (referenced.has(layer)) continue
    freedBytes += await removeLayer(join(context.dir, layer))
    context.logger?.info({ layer }, 'removed a layer that no restore point refers to')
  }
  for (const placement of files.placements) {
    const point = points.find(({ restorePointId }) => restorePointId === placement.restorePointId)
    if (point === undefined || point.revision > placement.revision) await context.placements.remove(placement)
  }
  return freedBytes
}

async function removeLayer(path: string): Promise<number> {
  const facts = await stat(path).catch(() => undefined)
  await rm(path, { force: true })
  // st_blocks counts units of 512 bytes (stat(2)), whatever the file system's block size.
  return (facts?.blocks ?? 0) * 512
}

export async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return []
    throw error
  }
}
