import { type UsageFact, type UsageMeter, usageMeters } from '@sendense/shared/contracts/usage-fact.ts'

const HOUR_MS = 3_600_000

/** What one meter showed for one resource in one hour. Sums may pass 2^53, hence bigint. */
export interface UsageHour {
  readonly meter: UsageMeter
  readonly resourceId: string
  /** Start of the hour, UTC. */
  readonly hour: string
  readonly last: bigint
  readonly max: bigint
  readonly sum: bigint
  readonly samples: number
}

/**
 * Sums one customer's facts up by meter, resource and hour, ordered by these. The result does not depend
 * on the order of the facts; a repeated fact must be left out by the caller (the ledger does). Of facts at
 * the same instant the one with the greatest id counts as last.
 */
export function summariseHours(facts: readonly UsageFact[]): UsageHour[] {
  const hours = new Map<string, UsageHour>()
  for (const fact of facts.toSorted(byTimeThenId)) {
    const hour = new Date(Math.floor(Date.parse(fact.at) / HOUR_MS) * HOUR_MS).toISOString()
    const key = `${fact.meter} ${fact.resourceId} ${hour}`
    const amount = BigInt(fact.amount)
    const before = hours.get(key)
    hours.set(key, {
      meter: fact.meter,
      resourceId: fact.resourceId,
      hour,
      last: amount,
      max: before === undefined || amount > before.max ? amount : before.max,
      sum: (before?.sum ?? 0n) + amount,
      samples: (before?.samples ?? 0) + 1,
    })
  }
  return [...hours.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, hour]) => hour)
}

/** What an hour is billed by: the highest reading of a gauge, the sum of a counter. */
export function billableAmount(hour: UsageHour): bigint {
  return usageMeters[hour.meter].kind === 'gauge' ? hour.max : hour.sum
}

function byTimeThenId(a: UsageFact, b: UsageFact): number {
  return Date.parse(a.at) - Date.parse(b.at) || (a.factId < b.factId ? -1 : 1)
}
