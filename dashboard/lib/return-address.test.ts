import { expect, test } from 'vitest'
import { returnAddress } from './return-address.ts'

test('a path of the portal is followed', () => {
  expect(returnAddress('/vms/1?tab=jobs')).toBe('/vms/1?tab=jobs')
})

test.each([
  undefined,
  null,
  '',
  'https://elsewhere.example',
  '//elsewhere.example',
  '/\\elsewhere.example',
  'vms',
  '/login',
])('%s leads to the overview', (next) => {
  expect(returnAddress(next)).toBe('/')
})
