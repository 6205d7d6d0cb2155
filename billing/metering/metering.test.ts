import { randomUUID } from 'node:crypto'
import { type UsageFact, type UsageMeter, usageMeters } from '@sendense/shared/contracts/usage-fact.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMemoryUsageLedger } from './memory-usage-ledger.ts'
import { billableAmount, summariseHours } from './usage-hours.ts'
import { describeUsageLedger } from './usage-ledger.conformance.ts'

describeUsageLedger('memory', () => {
  const mspId = randomUUID()
  const customerId = randomUUID()
  return Promise.resolve({
    ledger: createMemoryUsageLedger(),
    sources: [
      { mspId, customerId, agentId: randomUUID() },
      { mspId, customerId, agentId: randomUUID() },
      { mspId, customerId: randomUUID(), agentId: randomUUID() },
    ],
  })
})

const resource = '00000000-0000-4000-8000-000000000001'
const factOf = (meter: UsageMeter, at: string, amount: number): UsageFact => ({
  factId: randomUUID(),
  meter,
  resourceId: resource,
  amount,
  at,
})

const anyFact: fc.Arbitrary<UsageFact> = fc.record({
  factId: fc.uuid(),
  meter: fc.constantFrom(...(Object.keys(usageMeters) as UsageMeter[])),
  resourceId: fc.constantFrom(resource, '00000000-0000-4000-8000-000000000002'),
  amount: fc.nat(),
  at: fc
    .date({ min: new Date('2026-03-28T20:00:00Z'), max: new Date('2026-03-29T04:00:00Z'), noInvalidDate: true })
    .map((date) => date.toISOString()),
})

test('hours do not depend on the order in which facts arrive', () => {
  fc.assert(
    fc.property(
      fc
        .uniqueArray(anyFact, { selector: (fact) => fact.factId, maxLength: 30 })
        .chain((facts) => fc.tuple(fc.constant(facts), fc.shuffledSubarray(facts, { minLength: facts.length }))),
      ([facts, shuffled]) => {
        expect(summariseHours(shuffled)).toEqual(summariseHours(facts))
        const counted = summariseHours(facts).reduce((sum, hour) => sum + hour.samples, 0)
        expect(counted).toBe(facts.length)
      },
    ),
  )
})

test('an hour of a gauge is billed by its highest reading, an hour of a counter by its sum', () => {
  const [gauge] = summariseHours([
    factOf('stored-bytes', '2026-01-01T10:05:00.000Z', 5),
    factOf('stored-bytes', '2026-01-01T10:45:00.000Z', 3),
  ])
  expect(gauge).toMatchObject({ hour: '2026-01-01T10:00:00.000Z', last: 3n, max: 5n, sum: 8n, samples: 2 })
  expect(gauge === undefined ? undefined : billableAmount(gauge)).toBe(5n)
  const [counter] = summariseHours([
    factOf('egress-bytes', '2026-01-01T10:05:00.000Z', Number.MAX_SAFE_INTEGER),
    factOf('egress-bytes', '2026-01-01T10:45:00.000Z', Number.MAX_SAFE_INTEGER),
  ])
  expect(counter === undefined ? undefined : billableAmount(counter)).toBe(2n * BigInt(Number.MAX_SAFE_INTEGER))
})

test('the first instant of an hour belongs to it, the last to the hour before', () => {
  const hours = summariseHours([
    factOf('restore', '2026-01-01T10:59:59.999Z', 1),
    factOf('restore', '2026-01-01T11:00:00.000Z', 1),
  ])
  expect(hours.map((hour) => hour.hour)).toEqual(['2026-01-01T10:00:00.000Z', '2026-01-01T11:00:00.000Z'])
})
