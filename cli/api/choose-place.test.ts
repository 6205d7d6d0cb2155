import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { chooseAgent, chooseSite } from './choose-place.ts'

function newAgent(hostname: string, siteName = 'Main') {
  const ids = { agentId: randomUUID(), siteId: randomUUID(), customerId: randomUUID() }
  const rest = { agentVersion: '1', presence: 'online' as const, lastSeenAt: null, enrolledAt: '', clockOffsetMs: null }
  return { ...ids, siteName, customerName: 'Acme', hostname, ...rest }
}
function newSite(name: string, customerName: string) {
  const counts = { vmCount: 0, protectedVmCount: 0 }
  return { siteId: randomUUID(), name, customerId: randomUUID(), customerName, timeZone: 'UTC', agents: [], ...counts }
}

const edge = newAgent('edge-1')
const twins = [newAgent('twin', 'Main'), newAgent('twin', 'Branch')]

test('an agent is found by host name and by id in either case', () => {
  expect(chooseAgent([...twins, edge], 'edge-1')).toBe(edge)
  expect(chooseAgent([...twins, edge], edge.agentId.toUpperCase())).toBe(edge)
})

test('a name that several have is refused with the list, one that nobody has is not found', () => {
  for (const twin of twins) {
    expect(() => chooseAgent([...twins, edge], 'twin')).toThrow(
      expect.objectContaining({ code: 'input.invalid', message: expect.stringContaining(twin.agentId) as string }),
    )
  }
  expect(() => chooseAgent([edge], 'Edge-1')).toThrow(expect.objectContaining({ code: 'resource.not_found' }))
})

test('sites likewise, each told with its customer', () => {
  const [one, other, single] = [newSite('HQ', 'Acme'), newSite('HQ', 'Beta'), newSite('Branch', 'Acme')]
  expect(chooseSite([one, other, single], 'Branch')).toBe(single)
  expect(() => chooseSite([one, other], 'HQ')).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/HQ, Acme\n.*HQ, Beta/) as string }),
  )
})
