import { join } from 'node:path'
import { restorePointNotFound } from '../repository-errors.ts'
import type { DeleteOptions } from '../repository.ts'
import type { ChainContext } from './chain-context.ts'
import type { ManifestLocation } from './manifest-store.ts'
import { mergeChains } from './merge-chains.ts'
import { folders } from './repository-layout.ts'
import { takeVmLock } from './vm-lock.ts'

/**
 * Repository.deleteRestorePoint for QCOW2 chains: its manifest goes, and with it the point; then what no other point
 * needs, and then neighbours are merged where that frees enough. Errors of the system pass untranslated.
 *
 * Only the first step decides. What fails after it is logged, and made up for by the next deletion of the same VM or,
 * for files that nobody refers to, by the next opening.
 */
export async function deleteChainPoint(
  context: ChainContext,
  restorePointId: string,
  options: DeleteOptions,
): Promise<void> {
  const { vmId } = await find(context, restorePointId)
  await using _lock = await takeVmLock(context.dir, vmId, restorePointId)
  const location = await find(context, restorePointId)
  options.signal.throwIfAborted()
  await context.manifests.remove(location, () => context.crashPoint('manifest-unlinked'))
  context.crashPoint('manifest-gone')
  context.logger?.info({ restorePointId, vmId }, 'deleted a restore point')
  const workDir = join(context.dir, folders.partial, restorePointId)
  try {
    await mergeChains(context, { vmId, workDir, atAnyCost: false }, options)
  } catch (error) {
    const text = 'space of a deleted restore point is given back later'
    context.logger?.warn({ error, restorePointId, vmId }, text)
  }
}

async function find(context: ChainContext, restorePointId: string): Promise<ManifestLocation> {
  const location = await context.manifests.find(restorePointId)
  if (location !== undefined) return location
  throw restorePointNotFound(restorePointId)
}
