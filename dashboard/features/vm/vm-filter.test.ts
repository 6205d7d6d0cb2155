import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { expect, test } from 'vitest'
import { matchesFilter, matchesSearch, vmColumns, vmSortKey } from './vm-filter.ts'

const vm: VmView = {
  vmId: '22222222-2222-4222-8222-222222222222',
  agentId: '33333333-3333-4333-8333-333333333333',
  siteId: '44444444-4444-4444-8444-444444444444',
  siteName: 'Rotterdam',
  customerId: '55555555-5555-4555-8555-555555555555',
  customerName: 'Harbour Logistics',
  name: 'erp-db-01',
  platform: 'kvm',
  powerState: 'running',
  guestAgent: true,
  hostName: null,
  memoryBytes: 1,
  cpuCount: 1,
  disks: [
    { diskId: 'disk0', sizeBytes: 10, changeTracking: true },
    { diskId: 'disk1', sizeBytes: 20, changeTracking: true },
  ],
  restoredFrom: null,
  present: true,
  lastRestorePointAt: null,
  restorePointCount: 0,
  runningJobId: null,
}

test.each([
  ['', true],
  ['ERP', true],
  ['harbour 01', true],
  ['rotterdam  erp', true],
  ['antwerp', false],
  ['erp antwerp', false],
])('the search "%s" finds it: %s', (query, found) => {
  expect(matchesSearch(vm, query)).toBe(found)
})

test('the search finds a VM by its host', () => {
  expect(matchesSearch({ ...vm, hostName: 'kvm1' }, 'KVM1 erp')).toBe(true)
  expect(matchesSearch(vm, 'kvm1')).toBe(false)
})

test('protected means that there is a restore point', () => {
  expect(matchesFilter(vm, 'unprotected')).toBe(true)
  expect(matchesFilter(vm, 'protected')).toBe(false)
  expect(matchesFilter({ ...vm, restorePointCount: 1 }, 'protected')).toBe(true)
  expect(matchesFilter(vm, 'busy')).toBe(false)
  expect(matchesFilter({ ...vm, runningJobId: vm.vmId }, 'busy')).toBe(true)
})

test('every column has a key; the size is that of all disks, and a newer restore point comes before an older one', () => {
  for (const column of vmColumns)
    expect(vmSortKey({ ...vm, lastRestorePointAt: '2026-11-23T10:00:00.000Z' }, column)).not.toBeNull()
  expect(vmSortKey(vm, 'size')).toBe(30)
  const key = (at: string) => Number(vmSortKey({ ...vm, lastRestorePointAt: at }, 'lastRestorePoint'))
  expect(key('2026-11-23T10:00:00.000Z')).toBeLessThan(key('2026-11-22T10:00:00.000Z'))
})
