import type { ClockReading } from '../format/clock-reading.ts'
import type { Fence } from '../format/fence.ts'
import { deadAfterMs, fenceRestMs, type ProtocolTimes } from '../protocol-times.ts'

/** The share of a time by which clocks may run unlike. */
const CLOCK_DRIFT_SHARE = 0.05

/** An instant, by the store's clock and by those of the machine that noted it. */
export interface StoreInstant {
  readonly storeMs: number
  readonly clocks: ClockReading
}

/** What the leases say of one writer. Times are the store's. */
export interface SessionFacts {
  readonly writerId: string
  readonly role: 'writer' | 'collector'
  /** His first heartbeat; undefined where it is not there, and he may have begun at any time. */
  readonly beganMs: number | undefined
  /** Minus infinity where none is there: he was shut out, and gave up or was cleared away. */
  readonly newestBeatMs: number
  readonly fence: { readonly putMs: number; readonly content: Fence } | undefined
}

export interface RulesContext {
  readonly now: StoreInstant
  readonly times: ProtocolTimes
}

/** What a collection decides by: pure, and each a reason for which data would be lost without it. */
export interface CollectionRules {
  /** Whether what the store's clock says of an instant can be relied on: it and the machine's clocks passed alike since. */
  readonly isSound: (then: StoreInstant, context: RulesContext) => boolean
  /** Nobody renewed the lease for so long that its writer is taken for dead, and is to be shut out. */
  readonly isExpired: (session: SessionFacts, context: RulesContext) => boolean
  /** Shut out so long ago that nothing he does counts any more, if that instant is sound. */
  readonly isRested: (session: SessionFacts, context: RulesContext) => boolean
  /** May be of a writer who has not sealed yet, and whom listings may not show. */
  readonly isYoung: (putMs: number, context: RulesContext) => boolean
  /** May be of this writer. */
  readonly mayBeOf: (session: SessionFacts, putMs: number, context: RulesContext) => boolean
  /** Long enough condemned. */
  readonly isAged: (list: { readonly putMs: number }, context: RulesContext) => boolean
  /** Nothing refers to it. */
  readonly isFree: (packId: string, referenced: ReadonlySet<string>) => boolean
  /** The writer may not have seen the list, and seal what it names. */
  readonly mayHaveMissed: (session: SessionFacts, list: { readonly putMs: number }, context: RulesContext) => boolean
}

export const collectionRules: CollectionRules = {
  isSound: (then, { now, times }) => {
    const passedMs = now.storeMs - then.storeMs
    const toleranceMs = Math.max(times.clockSlackMs, Math.abs(passedMs) * CLOCK_DRIFT_SHARE)
    const agrees = (ownMs: number): boolean => Math.abs(ownMs - passedMs) <= toleranceMs
    if (passedMs < -times.clockSlackMs || !agrees(now.clocks.wallMs - then.clocks.wallMs)) return false
    return now.clocks.bootId !== then.clocks.bootId || agrees(now.clocks.upMs - then.clocks.upMs)
  },
  isExpired: ({ newestBeatMs }, { now, times }) => now.storeMs - newestBeatMs > deadAfterMs(times),
  isRested: ({ fence }, { now, times }) => fence !== undefined && now.storeMs - fence.putMs > fenceRestMs(times),
  isYoung: (putMs, { now, times }) => now.storeMs - putMs <= times.lateListingMs + times.clockSlackMs,
  mayBeOf: ({ beganMs }, putMs, { times }) => beganMs === undefined || putMs >= beganMs - times.clockSlackMs,
  isAged: ({ putMs }, { now, times }) => now.storeMs - putMs >= times.graceMs,
  isFree: (packId, referenced) => !referenced.has(packId),
  mayHaveMissed: ({ beganMs }, { putMs }, { times }) =>
    beganMs === undefined || beganMs <= putMs + times.lateListingMs + times.clockSlackMs,
}

/** Whether a writer is over: shut out, and nothing he does counts any more. */
export function isOver(session: SessionFacts, rules: CollectionRules, context: RulesContext): boolean {
  if (session.fence !== undefined && session.newestBeatMs === -Infinity) return true
  return rules.isRested(session, context) && isFenceSound(session, rules, context)
}

/** Dead and not shut out, or shut out at an instant that is not sound. */
export function isToBeFenced(session: SessionFacts, rules: CollectionRules, context: RulesContext): boolean {
  if (session.fence === undefined) return rules.isExpired(session, context)
  return session.newestBeatMs !== -Infinity && !isFenceSound(session, rules, context)
}

function isFenceSound({ fence }: SessionFacts, rules: CollectionRules, context: RulesContext): boolean {
  return fence === undefined || rules.isSound({ storeMs: fence.putMs, clocks: fence.content.clocks }, context)
}
