import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue } from '../catalog/catalogue.ts'

/**
 * When a new restore point of a VM was taken, as it is sealed: the instant itself, or 1 ms after the VM's newest point
 * where the clock was set back behind it. Points are ordered by it, and the base is the newest.
 */
export async function nextInstant(
  { catalogue, vmId, instant }: { readonly catalogue: Catalogue; readonly vmId: string; readonly instant: Date },
  options: CallOptions,
): Promise<Date> {
  const [newest] = await catalogue.transaction(async (tx) => await tx.restorePoints.list({ vmId, limit: 1 }), options)
  if (newest === undefined) return instant
  return new Date(Math.max(instant.getTime(), Date.parse(newest.takenAt) + 1))
}
