import { expect, test } from 'vitest'
import { searchPalette } from './palette-search.ts'
import { isWithin } from './places.ts'

const entries = [
  { href: '/vms/1', label: 'voip', note: 'VM · Antwerp' },
  { href: '/vms/2', label: 'web-erp', note: 'VM · Rotterdam' },
  { href: '/vms/3', label: 'erp-db', note: 'VM · Rotterdam' },
  { href: '/jobs', label: 'Jobs', note: 'Page' },
]

test('names that begin with the word come first, then names that hold it, then notes', () => {
  expect(searchPalette(entries, 'erp').map((entry) => entry.label)).toEqual(['erp-db', 'web-erp', 'voip'])
})

test('every word must occur; no word offers everything', () => {
  expect(searchPalette(entries, 'erp rotterdam')).toHaveLength(2)
  expect(searchPalette(entries, 'erp nowhere')).toEqual([])
  expect(searchPalette(entries, ' ')).toHaveLength(entries.length)
})

test('a page below a place marks the place', () => {
  expect(isWithin('/vms/1', '/vms')).toBe(true)
  expect(isWithin('/vmsx', '/vms')).toBe(false)
  expect(isWithin('/vms', '/')).toBe(false)
  expect(isWithin('/', '/')).toBe(true)
})
