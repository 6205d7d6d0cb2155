import type { SealedManifest } from '../restore-point-manifest.ts'
import type { ChainContext } from './chain-context.ts'
import type { PlacedPoint } from './merge-plan.ts'
import type { RestorePointPlacement } from './placement-store.ts'

/** A restore point of a chain as it lies now. */
export interface ChainPoint extends PlacedPoint {
  readonly sealed: SealedManifest
  /** Of the placement that says where; 0: its own manifest does. */
  readonly revision: number
  /** What that placement was made for. */
  readonly merge?: RestorePointPlacement['merge']
}

/**
 * Every restore point of a VM. Rejects as soon as one cannot be read: who removes layers must know all that refer to
 * them.
 */
export async function readChainPoints(context: ChainContext, vmId: string, signal: AbortSignal): Promise<ChainPoint[]> {
  const points: ChainPoint[] = []
  for (const location of await context.manifests.list({ vmId })) {
    signal.throwIfAborted()
    const sealed = await context.manifests.read(location)
    points.push({ restorePointId: location.restorePointId, sealed, ...(await context.placements.find(sealed)) })
  }
  return points
}
