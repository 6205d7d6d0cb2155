import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { WriterLease } from '../lease/writer-lease.ts'

/** What a seal does, and in which order: `sealInOrder` is the only one that calls them. */
export interface SealSteps<Sealed> {
  /**
   * Reads the condemned lists and stores again what lies in packs that they name. Resolves with whether there was any:
   * then it is called again.
   */
  readonly copyForward: (options: CallOptions) => Promise<boolean>
  /** Puts the index of the new packs, and the pack set, which names no condemned pack. */
  readonly putPackSet: (options: CallOptions) => Promise<void>
  /** Makes the restore point exist. */
  readonly putManifest: (options: CallOptions) => Promise<Sealed>
  /** Deletes the manifest, and nothing else: it may still arrive, and is whole then. */
  readonly takeBack: () => Promise<void>
}

export interface SealOptions extends CallOptions {
  readonly lease: Pick<WriterLease, 'confirm' | 'deadline' | 'leave'>
  /** ProtocolTimes.sealMs. */
  readonly sealMs: number
}

/** Times that what collections condemn meanwhile is copied forward. */
const ROUNDS_MAX = 8

/**
 * Seals a restore point so that no collection deletes what it refers to: all that was condemned before is left alone, and
 * that all is done in so short a time, by the store's clock, that what is condemned from now on is not yet deleted.
 * A manifest of which that cannot be proven is taken back; where it cannot be taken back either, the lease is left, and
 * whoever collects shuts this writer out. Rejects with `repository.lease_lost`, and with what the steps reject with.
 */
export async function sealInOrder<Sealed>(
  steps: SealSteps<Sealed>,
  { lease, sealMs, signal }: SealOptions,
): Promise<Sealed> {
  let beganAt = await lease.confirm({ signal })
  for (let round = 1; await steps.copyForward({ signal }); round += 1) {
    if (round === ROUNDS_MAX) throw tooLate('collections condemn faster than it can copy')
    beganAt = await lease.confirm({ signal })
  }
  await steps.putPackSet({ signal })
  await lease.confirm({ signal })
  try {
    const sealed = await steps.putManifest({ signal: AbortSignal.any([signal, lease.deadline()]) })
    const endedAt = await lease.confirm({ signal })
    const tookMs = endedAt.getTime() - beganAt.getTime()
    if (tookMs > sealMs) throw tooLate(`sealing took ${Math.round(tookMs / 1000)} s`)
    return sealed
  } catch (error) {
    // What was sent may still arrive: nobody takes this writer for one who ended well.
    lease.leave()
    await steps.takeBack().catch(() => undefined)
    throw error
  }
}

function tooLate(why: string): PlatformError {
  return new PlatformError('repository.lease_lost', `the restore point was not sealed: ${why}`)
}
