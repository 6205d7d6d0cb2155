import { join } from 'node:path'
import { restorePointNotFound } from '../repository-errors.ts'
import type { DeleteOptions } from '../repository.ts'
import type { ChainContext } from './chain-context.ts'
import { mergeChains, replaceLayers } from './merge-chains.ts'
import { readChainPoints } from './placed-points.ts'
import { folders } from './repository-layout.ts'
import { takeVmLock } from './vm-lock.ts'

/**
 * ChainCare.shorten for QCOW2 chains: first whatever can be merged is; where that is not enough, each disk whose chain is
 * full is read through it and written as one new layer, to which the restore point is moved. Older points keep theirs.
 * Errors of the system pass untranslated.
 */
export async function shortenChain(
  context: ChainContext,
  restorePointId: string,
  options: DeleteOptions,
): Promise<void> {
  const location = await context.manifests.find(restorePointId)
  if (location === undefined) throw restorePointNotFound(restorePointId)
  const { vmId } = location
  await using _lock = await takeVmLock(context.dir, vmId, restorePointId)
  const workDir = join(context.dir, folders.partial, restorePointId)
  await mergeChains(context, { vmId, workDir, atAnyCost: true }, options)
  for (;;) {
    const points = await readChainPoints(context, vmId, options.signal)
    const point = points.find((candidate) => candidate.restorePointId === restorePointId)
    if (point === undefined) throw restorePointNotFound(restorePointId)
    const full = [...point.layers].find(([, layers]) => layers.length >= context.chainLayersMax)
    if (full === undefined) break
    const [diskId, replaces] = full
    const run = { diskId, replaces, below: [], restorePointId }
    await replaceLayers(context, run, { vmId, workDir, points }, options)
  }
  await mergeChains(context, { vmId, workDir, atAnyCost: false }, options)
}
