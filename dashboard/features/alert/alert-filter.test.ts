import { ListAlertsInput } from '@sendense/shared/contracts/api/alert-api.ts'
import { alertSeverities } from '@sendense/shared/domain/alert-severity.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { addressOfFilter, alertStates, filterOfAddress, inputOfFilter } from './alert-filter.ts'

const place = fc.oneof(
  fc.constant(''),
  fc.uuid().map((id) => `site:${id}`),
  fc.uuid().map((id) => `agent:${id}`),
)
const filter = fc.record({
  state: fc.constantFrom(...alertStates),
  severity: fc.constantFrom(...alertSeverities, 'all' as const),
  place,
})

test('a filter comes back from its address as it was, and the API takes it', () => {
  fc.assert(
    fc.property(filter, (wanted) => {
      const { searchParams } = new URL(addressOfFilter(wanted), 'http://portal')
      expect(filterOfAddress(searchParams)).toEqual(wanted)
      expect(ListAlertsInput.safeParse(inputOfFilter(wanted)).success).toBe(true)
    }),
  )
})

test('the page without parameters shows what is open, everywhere', () => {
  expect(addressOfFilter({ state: 'open', severity: 'all', place: '' })).toBe('/alerts')
  expect(inputOfFilter(filterOfAddress(new URLSearchParams()))).toEqual({ state: 'open' })
})

test('an address that somebody made up breaks nothing', () => {
  const parameters = fc.array(fc.tuple(fc.constantFrom('state', 'severity', 'place', 'x'), fc.string()))
  fc.assert(
    fc.property(parameters, (pairs) => {
      const input = inputOfFilter(filterOfAddress(new URLSearchParams(pairs)))
      expect(ListAlertsInput.safeParse(input).success).toBe(true)
    }),
  )
})
