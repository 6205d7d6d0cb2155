import type { UsageFact } from '@sendense/shared/contracts/usage-fact.ts'

/** Where a fact came from, and who pays for it. */
export interface UsageSource {
  readonly mspId: string
  readonly customerId: string
  readonly agentId: string
}

/** A fact as the ledger keeps it. */
export interface RecordedFact extends UsageFact, UsageSource {}

/**
 * Facts as they were measured. Only ever appended to; (agent, fact) counts once, however often and in
 * whatever order facts arrive. The contract is executable: usage-ledger.conformance.ts.
 */
export interface UsageLedger {
  /** @returns how many of them were new */
  record(source: UsageSource, facts: readonly UsageFact[]): Promise<number>
  /** Facts of one customer with `from` ≤ at < `to`, by time, then by id. */
  list(range: { mspId: string; customerId: string; from: Date; to: Date }): Promise<RecordedFact[]>
}
