import { isNewerSync, type SyncNumber } from '@sendense/shared/contracts/agent-message.ts'
import type { Catalogue } from '../catalog/catalogue.ts'

/**
 * Numbers the syncs of this process, so that the cloud knows a new one from one that somebody kept. A catalogue that
 * was lost or set back begins at an epoch that was used before: the cloud's answer shows it, and a later one is begun.
 */
export class SyncNumbers {
  readonly #catalogue: Catalogue
  #last: SyncNumber

  /** @param bootEpoch of this process, as the catalogue counts it */
  constructor(catalogue: Catalogue, bootEpoch: number) {
    this.#catalogue = catalogue
    this.#last = { bootEpoch, syncSequence: 0 }
  }

  get bootEpoch(): number {
    return this.#last.bootEpoch
  }

  /** The number of the next sync. */
  next(): SyncNumber {
    this.#last = { ...this.#last, syncSequence: this.#last.syncSequence + 1 }
    return this.#last
  }

  /**
   * The newest sync that the cloud took in is `newest`. Where that is none this process sent so far, its own are
   * taken for old ones: an epoch behind it is begun, durable, and true is returned.
   */
  async follow(newest: SyncNumber, { signal }: { readonly signal: AbortSignal }): Promise<boolean> {
    if (!isNewerSync(newest, this.#last)) return false
    const bootEpoch = newest.bootEpoch + 1
    await this.#catalogue.transaction(
      async (tx) => {
        await tx.settings.setNumber('boot-epoch', bootEpoch)
      },
      { signal },
    )
    this.#last = { bootEpoch, syncSequence: 0 }
    return true
  }
}
