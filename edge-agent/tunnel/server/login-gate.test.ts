import { expect, test } from 'vitest'
import { LoginGate } from './login-gate.ts'

const limits = { pendingMax: 4, pendingPerAddressMax: 2, perMinute: 6 }

test('an address has as many connections at once as it may, and again as many when they have logged in', () => {
  const gate = new LoginGate(limits)
  expect([1, 2, 3].map((id) => gate.admit(id, '192.0.2.1', 0).isAdmitted)).toEqual([true, true, false])
  expect(gate.admit(4, '192.0.2.2', 0).isAdmitted).toBe(true)
  gate.settle(1)
  gate.settle(1)
  expect([5, 6].map((id) => gate.admit(id, '192.0.2.1', 0).isAdmitted)).toEqual([true, false])
})

test('of all addresses the oldest goes for the youngest', () => {
  const gate = new LoginGate(limits)
  const wanted = [undefined, undefined, undefined, undefined, 1, 2]
  const evicted = [1, 2, 3, 4, 5, 6].map((id) => gate.admit(id, `192.0.2.${id}`, 0))
  expect(evicted.map((admission) => admission.isAdmitted && admission.evicted)).toEqual(wanted)
  gate.settle(3)
  expect(gate.admit(7, '192.0.2.7', 0)).toEqual({ isAdmitted: true, evicted: undefined })
})

test('an address comes so often a minute, and what it did not use comes back with time', () => {
  const gate = new LoginGate(limits)
  let id = 0
  const come = (nowMs: number): boolean => {
    const { isAdmitted } = gate.admit(++id, '192.0.2.1', nowMs)
    gate.settle(id)
    return isAdmitted
  }
  expect(Array.from({ length: 8 }, () => come(0))).toEqual([true, true, true, true, true, true, false, false])
  expect([come(9999), come(10_000), come(10_001)]).toEqual([false, true, false])
  expect(Array.from({ length: 8 }, () => come(10_000_000)).filter(Boolean)).toHaveLength(6)
})

test('a clock that is set back shuts nobody out', () => {
  const gate = new LoginGate(limits)
  expect(gate.admit(1, '192.0.2.1', 10_000_000).isAdmitted).toBe(true)
  expect(gate.admit(2, '192.0.2.1', 0).isAdmitted).toBe(true)
})

test('who is turned away is told once a minute, with how many there were', () => {
  const gate = new LoginGate({ ...limits, pendingPerAddressMax: 0 })
  const told = (nowMs: number) => {
    const admission = gate.admit(1, '192.0.2.1', nowMs)
    return admission.isAdmitted ? 'admitted' : admission.told
  }
  expect([told(0), told(1), told(2), told(60_000), told(60_001)]).toEqual([1, undefined, undefined, 3, undefined])
})

test.each([
  ['2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff', true],
  ['2001:db8:1:2::1', '2001:db8:1:3::1', false],
  ['2001:db8::1', '2001:0db8:0:0:9::', true],
  ['::ffff:192.0.2.1', '192.0.2.1', true],
  ['::ffff:192.0.2.1', '::ffff:192.0.2.2', false],
  ['fe80::1%eth0', 'fe80::2%eth1', true],
])('%s and %s count as one: %s', (one, other, areOne) => {
  const gate = new LoginGate({ ...limits, pendingPerAddressMax: 1 })
  expect(gate.admit(1, one, 0).isAdmitted).toBe(true)
  expect(gate.admit(2, other, 0).isAdmitted).toBe(!areOne)
})

test('however many addresses come, a bounded number is remembered', () => {
  const gate = new LoginGate({ pendingMax: 1e9, pendingPerAddressMax: 1, perMinute: 1 })
  const addresses = Array.from(
    { length: 10_001 },
    (_, index) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
  )
  for (const [id, address] of addresses.entries()) {
    gate.admit(id, address, 0)
    gate.settle(id)
  }
  // The one that came first is forgotten and may come again; the last one has had its turn.
  expect(gate.admit(20_000, addresses[0] ?? '', 0).isAdmitted).toBe(true)
  expect(gate.admit(20_001, addresses.at(-1) ?? '', 0).isAdmitted).toBe(false)
})
