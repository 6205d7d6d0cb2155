import { randomUUID } from 'node:crypto'
import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { expect, test } from 'vitest'
import { chooseVm } from './choose-vm.ts'

function newVm(changes: Partial<VmView>): VmView {
  return {
    vmId: randomUUID(),
    agentId: randomUUID(),
    siteId: randomUUID(),
    siteName: 'Main',
    customerId: randomUUID(),
    customerName: 'Acme',
    name: 'web-1',
    platform: 'kvm',
    powerState: 'running',
    guestAgent: true,
    hostName: null,
    memoryBytes: 0,
    cpuCount: 1,
    disks: [],
    restoredFrom: null,
    present: true,
    lastRestorePointAt: null,
    restorePointCount: 0,
    runningJobId: null,
    ...changes,
  }
}

const web = newVm({})
const mail = newVm({ name: 'mail' })

test('a VM is found by name and by id in either case', () => {
  expect(chooseVm([mail, web], 'web-1')).toBe(web)
  expect(chooseVm([mail, web], web.vmId.toUpperCase())).toBe(web)
})

test('an id wins over a VM that is named like it', () => {
  const odd = newVm({ name: web.vmId })
  expect(chooseVm([odd, web], web.vmId)).toBe(web)
})

test('a name that nobody has is not found', () => {
  expect(() => chooseVm([web], 'Web-1')).toThrow(expect.objectContaining({ code: 'resource.not_found' }))
})

test('a name that several have is refused with the list', () => {
  const other = newVm({ siteName: 'Branch' })
  expect(() => chooseVm([web, other], 'web-1')).toThrow(
    expect.objectContaining({ code: 'input.invalid', message: expect.stringContaining(other.vmId) as string }),
  )
})

test('a VM that is gone gives way to one that is there, and is found where it is the only one', () => {
  const gone = newVm({ present: false })
  expect(chooseVm([gone, web], 'web-1')).toBe(web)
  expect(chooseVm([gone, mail], 'web-1')).toBe(gone)
})
