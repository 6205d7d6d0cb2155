import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { ChainContext } from './chain-context.ts'
import { type ChainPoint, readChainPoints } from './placed-points.ts'
import { type ChainFiles, listChainFiles, namesIn, removeUnreferenced } from './remove-unreferenced.ts'
import { folders } from './repository-layout.ts'
import { listLiveLocks } from './vm-lock.ts'

/**
 * Removes what dead writers and deleters left: folders under `.partial`, layers no sealed manifest or placement refers
 * to, placements that do not hold any more. Pages stay: they are shared, and a writer in another process may count on
 * one. One lock, manifest or placement that cannot be read, and nothing is removed.
 *
 * Candidates are listed before locks, locks before manifests: what a writer that lives began later is no candidate,
 * and what it sealed meanwhile is in the manifests.
 */
export async function removeLeftovers(context: ChainContext, signal: AbortSignal): Promise<void> {
  const partials = await namesIn(join(context.dir, folders.partial))
  const candidates = new Map<string, ChainFiles>()
  for (const vmId of await vmsWithFiles(context.dir)) candidates.set(vmId, await listChainFiles(context, vmId))
  if (partials.length === 0 && candidates.size === 0) return
  const points = new Map<string, readonly ChainPoint[]>()
  let live: Awaited<ReturnType<typeof listLiveLocks>>
  try {
    live = await listLiveLocks(context.dir)
    const vmIds = new Set((await context.manifests.list({})).map((location) => location.vmId))
    for (const vmId of vmIds) points.set(vmId, await readChainPoints(context, vmId, signal))
  } catch (error) {
    signal.throwIfAborted()
    context.logger?.warn({ error }, 'a lock or a manifest cannot be read: leftovers in the repository are kept')
    return
  }
  for (const name of partials) {
    if (live.some((lock) => lock.restorePointId === name)) continue
    await rm(join(context.dir, folders.partial, name), { recursive: true, force: true })
    context.logger?.info({ restorePointId: name }, 'removed what an unfinished backup or deletion had left')
  }
  for (const [vmId, files] of candidates) {
    if (live.some((lock) => lock.vmId === vmId)) continue
    await removeUnreferenced(context, files, points.get(vmId) ?? [])
  }
}

async function vmsWithFiles(dir: string): Promise<Set<string>> {
  const names = [...(await namesIn(join(dir, folders.layers))), ...(await namesIn(join(dir, folders.placements)))]
  return new Set(names.filter((name) => z.uuid().safeParse(name).success))
}
