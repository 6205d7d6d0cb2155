import type { RecordedFact, UsageLedger } from './usage-ledger.ts'

/** Keeps facts in memory: for tests, and as the smallest example. */
export function createMemoryUsageLedger(): UsageLedger {
  const facts = new Map<string, RecordedFact>()
  return {
    record(source, added) {
      const before = facts.size
      for (const fact of added) {
        const key = `${source.agentId} ${fact.factId}`
        if (!facts.has(key)) facts.set(key, { ...fact, ...source })
      }
      return Promise.resolve(facts.size - before)
    },
    list: ({ mspId, customerId, from, to }) =>
      Promise.resolve(
        [...facts.values()]
          .filter((fact) => fact.mspId === mspId && fact.customerId === customerId)
          .filter((fact) => Date.parse(fact.at) >= from.getTime() && Date.parse(fact.at) < to.getTime())
          .toSorted(byTimeThenId),
      ),
  }
}

function byTimeThenId(a: RecordedFact, b: RecordedFact): number {
  return Date.parse(a.at) - Date.parse(b.at) || (a.factId < b.factId ? -1 : 1)
}
