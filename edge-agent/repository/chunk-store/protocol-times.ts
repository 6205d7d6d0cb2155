import assert from 'node:assert/strict'

const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** The times that writers and collections of one repository rely on each other to keep. All by the store's clock. */
export interface ProtocolTimes {
  /** Between a writer's heartbeats. */
  readonly heartbeatEveryMs: number
  /** A writer who could not renew his lease for so long gives up. */
  readonly leaseExpiryMs: number
  /** From the moment a writer begins to read condemned lists for the last time until his manifest is there. */
  readonly sealMs: number
  /** A listing may show the store as it was so long ago, for each key differently. */
  readonly lateListingMs: number
  /** What was sent may take effect so long after its sender gave up or died. */
  readonly putMs: number
  /** From being condemned to being deleted. */
  readonly graceMs: number
  /** Clocks that differ by no more are taken to agree. */
  readonly clockSlackMs: number
  /** What packs there are is looked up again after so long. */
  readonly indexLastsMs: number
  /** Condemned lists stay so long after the last of their packs is gone. */
  readonly tombstoneMs: number
}

export const protocolTimes: ProtocolTimes = {
  heartbeatEveryMs: 30 * SECOND_MS,
  leaseExpiryMs: 10 * MINUTE_MS,
  sealMs: HOUR_MS,
  lateListingMs: HOUR_MS,
  putMs: HOUR_MS,
  graceMs: 24 * HOUR_MS,
  clockSlackMs: 5 * MINUTE_MS,
  indexLastsMs: DAY_MS,
  tombstoneMs: 30 * DAY_MS,
}

/** A writer whose newest heartbeat looks older is taken for dead: twice the expiry, and what listings do not show yet. */
export function deadAfterMs({ leaseExpiryMs, lateListingMs }: ProtocolTimes): number {
  return 2 * leaseExpiryMs + lateListingMs
}

/** A writer who was shut out so long ago has done all that will ever count. */
export function fenceRestMs({ lateListingMs, putMs }: ProtocolTimes): number {
  return lateListingMs + putMs
}

/**
 * Whether the times keep what the protocol needs: whoever did not see a condemned list has sealed, and all can see it,
 * before one of its packs is deleted. `docs/decisions/0019`.
 */
export function expectSound(times: ProtocolTimes): void {
  const { graceMs, lateListingMs, sealMs, clockSlackMs, leaseExpiryMs, heartbeatEveryMs, indexLastsMs, tombstoneMs } =
    times
  assert(graceMs >= 2 * lateListingMs + sealMs + 2 * clockSlackMs, 'the grace is too short for late listings')
  assert(graceMs >= 2 * leaseExpiryMs && leaseExpiryMs > heartbeatEveryMs, 'leases do not fit the grace')
  assert(tombstoneMs >= 2 * indexLastsMs + lateListingMs, 'condemned lists would go before their packs are forgotten')
}
