import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { expect, test } from 'vitest'
import { formatVm, formatVmTable } from './vm-text.ts'

const id = '0c0ffee0-0000-4000-8000-000000000001'
const vm: VmView = {
  vmId: id,
  agentId: id,
  siteId: id,
  siteName: 'Antwerp',
  customerId: id,
  customerName: 'Harbour',
  name: 'erp',
  platform: 'kvm',
  hostName: null,
  powerState: 'running',
  guestAgent: true,
  memoryBytes: 1024,
  cpuCount: 1,
  disks: [],
  restoredFrom: null,
  present: true,
  lastRestorePointAt: null,
  restorePointCount: 0,
  runningJobId: null,
}

test('a host is named where a VM has one of its own, and only there', () => {
  const behind = { ...vm, name: 'db', hostName: 'kvm1' }
  expect(formatVmTable([vm])).not.toContain('HOST')
  const [heading, first, second] = formatVmTable([vm, behind]).split('\n')
  expect(heading).toMatch(/SITE +HOST +POWER/)
  expect(first).not.toContain('kvm1')
  expect(second).toMatch(/Antwerp +kvm1 +running/)
  expect(formatVm(vm)).not.toMatch(/^host/m)
  expect(formatVm(behind)).toMatch(/^host: +kvm1$/m)
})
