import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ChainContext } from './chain-context.ts'
import { folders, parseLayerPath } from './repository-layout.ts'
import { listLiveLocks } from './vm-lock.ts'

/**
 * Removes what dead writers left: folders under `.partial`, and layers no sealed manifest refers to. Pages stay: they are
 * shared, and a writer in another process may count on one. One lock or manifest that cannot be read, and nothing is
 * removed.
 *
 * Candidates are listed before locks, locks before manifests: what a writer that lives began later is no candidate,
 * and what it sealed meanwhile is in the manifests.
 */
export async function removeLeftovers(context: ChainContext, signal: AbortSignal): Promise<void> {
  const partials = await namesIn(join(context.dir, folders.partial))
  const layers = await listLayers(context.dir)
  if (partials.length === 0 && layers.length === 0) return
  const referenced = new Set<string>()
  let live: Awaited<ReturnType<typeof listLiveLocks>>
  try {
    live = await listLiveLocks(context.dir)
    for (const location of await context.manifests.list({})) {
      signal.throwIfAborted()
      const { manifest } = await context.manifests.read(location)
      for (const disk of manifest.disks) for (const layer of disk.layers ?? []) referenced.add(layer)
    }
  } catch (error) {
    signal.throwIfAborted()
    context.logger?.warn({ error }, 'a lock or a manifest cannot be read: leftovers in the repository are kept')
    return
  }
  for (const name of partials) {
    if (live.some((lock) => lock.restorePointId === name)) continue
    await rm(join(context.dir, folders.partial, name), { recursive: true, force: true })
    context.logger?.info({ restorePointId: name }, 'removed what an unfinished backup had left')
  }
  for (const layer of layers) {
    const restorePointId = parseLayerPath(layer)?.restorePointId
    if (referenced.has(layer) || live.some((lock) => lock.restorePointId === restorePointId)) continue
    await rm(join(context.dir, layer), { force: true })
    context.logger?.info({ layer }, 'removed a layer that no restore point refers to')
  }
}

/** Sealed and unsealed layers, as manifests name them; files of other names are not ours to judge. */
async function listLayers(dir: string): Promise<string[]> {
  const found: string[] = []
  for (const vmId of await namesIn(join(dir, folders.layers))) {
    for (const diskId of await namesIn(join(dir, folders.layers, vmId))) {
      for (const file of await namesIn(join(dir, folders.layers, vmId, diskId))) {
        const path = `${folders.layers}/${vmId}/${diskId}/${file}`
        if (parseLayerPath(path) !== undefined) found.push(path)
      }
    }
  }
  return found
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return []
    throw error
  }
}
