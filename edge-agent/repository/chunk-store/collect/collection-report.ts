/** Some packs. */
export interface PackTally {
  packs: number
  bytes: number
}

/** A condemned list that waits, and for what. */
export interface WaitingList {
  readonly runId: string
  readonly packs: number
  /**
   * grace: it is too young · clock: the clocks of store and machine do not agree on its age · session: somebody who may
   * not have seen it still writes
   */
  readonly why: 'grace' | 'clock' | 'session'
}

/** What one collection found and did. */
export interface CollectionReport {
  readonly runId: string
  readonly isDryRun: boolean
  /** By the clock of this machine. */
  readonly beganAt: string
  restorePoints: number
  readonly stored: PackTally
  /** Named by no restore point and by nobody who writes: no deduplication targets from now on. */
  readonly condemned: PackTally
  /** Condemned before, and still needed by a restore point. */
  readonly spared: PackTally
  readonly deleted: PackTally
  /** Kept because the store protects them. */
  readonly locked: PackTally
  /** Might be deleted by now, and was not: a dry run, or one that had done as much as it may. */
  readonly left: PackTally
  readonly waiting: WaitingList[]
  /** Writers that were dead, and are shut out now. */
  readonly fenced: string[]
  /** Pack sets without a restore point. */
  orphanedSets: number
  /** Restore points that a writer sealed after he was shut out. */
  voidPoints: number
  indexesReplaced: number
  requests: number
  /** Why it ended early. What was done until then is safe. */
  stopped?: { readonly code: string; readonly message: string }
}

export function emptyReport(runId: string, isDryRun: boolean, beganAt: Date): CollectionReport {
  return {
    runId,
    isDryRun,
    beganAt: beganAt.toISOString(),
    restorePoints: 0,
    stored: none(),
    condemned: none(),
    spared: none(),
    deleted: none(),
    locked: none(),
    left: none(),
    waiting: [],
    fenced: [],
    orphanedSets: 0,
    voidPoints: 0,
    indexesReplaced: 0,
    requests: 0,
  }
}

function none(): PackTally {
  return { packs: 0, bytes: 0 }
}

export function count(tally: PackTally, { sizeBytes }: { readonly sizeBytes: number }): void {
  tally.packs += 1
  tally.bytes += sizeBytes
}
