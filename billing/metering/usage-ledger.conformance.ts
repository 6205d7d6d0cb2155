import { randomUUID } from 'node:crypto'
import type { UsageFact } from '@sendense/shared/contracts/usage-fact.ts'
import { describe, expect, test } from 'vitest'
import type { UsageLedger, UsageSource } from './usage-ledger.ts'

export interface LedgerUnderTest {
  readonly ledger: UsageLedger
  /** Two agents of one customer, and an agent of another customer. */
  readonly sources: readonly [UsageSource, UsageSource, UsageSource]
}

function factAt(at: string, amount = 1): UsageFact {
  return { factId: randomUUID(), meter: 'ingress-bytes', resourceId: randomUUID(), amount, at }
}

/** The contract of UsageLedger as tests. */
export function describeUsageLedger(name: string, open: () => Promise<LedgerUnderTest>): void {
  const day = { from: new Date('2026-03-01T00:00:00Z'), to: new Date('2026-03-02T00:00:00Z') }

  describe(`UsageLedger conformance: ${name}`, () => {
    test('a fact counts once per agent, in one call and over calls', async () => {
      const { ledger, sources } = await open()
      const [first, second] = sources
      const fact = factAt('2026-03-01T10:00:00.000Z')
      expect(await ledger.record(first, [fact, fact])).toBe(1)
      expect(await ledger.record(first, [{ ...fact, amount: 99 }])).toBe(0)
      expect(await ledger.record(second, [fact])).toBe(1)
      const listed = await ledger.list({ ...first, ...day })
      expect(listed.map((entry) => entry.amount)).toEqual([1, 1])
    })

    test('facts are listed by time, from the first instant and before the last, of one customer', async () => {
      const { ledger, sources } = await open()
      const [first, , stranger] = sources
      const times = [
        '2026-03-01T23:59:59.999Z',
        '2026-03-01T00:00:00.000Z',
        '2026-03-02T00:00:00.000Z',
        '2026-02-28T23:59:59.999Z',
      ]
      const facts = times.map((at) => factAt(at))
      expect(await ledger.record(first, facts)).toBe(4)
      await ledger.record(stranger, [factAt('2026-03-01T12:00:00.000Z')])
      const listed = await ledger.list({ ...first, ...day })
      expect(listed.map((entry) => entry.at)).toEqual(['2026-03-01T00:00:00.000Z', '2026-03-01T23:59:59.999Z'])
      expect(listed[0]).toEqual({ ...facts[1], ...first })
    })

    test('an amount up to the largest safe integer is kept exactly', async () => {
      const { ledger, sources } = await open()
      await ledger.record(sources[0], [factAt('2026-03-01T10:00:00.000Z', Number.MAX_SAFE_INTEGER)])
      const [listed] = await ledger.list({ ...sources[0], ...day })
      expect(listed?.amount).toBe(Number.MAX_SAFE_INTEGER)
    })
  })
}
