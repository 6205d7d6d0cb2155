import { expect, test } from 'vitest'
import type { LocalTarget } from '../tunnel/tunnel-client.ts'
import { PortLeases } from './port-leases.ts'

function openTable(ports: readonly number[] = [2, 3]) {
  const targets = new Map<number, LocalTarget>()
  const setTarget = async (port: number, target: LocalTarget | undefined): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve))
    if (target === undefined) targets.delete(port)
    else targets.set(port, target)
  }
  return { targets, leases: new PortLeases({ ports, setTarget }) }
}

const monitor = { vmId: 'a', service: 'monitor', path: '/a/qmp' } as const
const nbd = { vmId: 'a', service: 'nbd', path: '/a/nbd' } as const

test('a leased port leads to its service, a released one nowhere', async () => {
  const { targets, leases } = openTable()
  const owner = {}
  const port = await leases.lease({ owner, ...monitor })
  expect(targets.get(port)).toEqual({ path: '/a/qmp' })
  expect(leases.list()).toEqual([{ port, vmId: 'a', service: 'monitor' }])
  await leases.release({}, port)
  expect(targets.size).toBe(1)
  await leases.release(owner, port)
  await leases.release(owner, port)
  expect(targets.size).toBe(0)
  expect(leases.list()).toEqual([])
})

test('no two leases share a port, and there are no more than ports', async () => {
  const { targets, leases } = openTable()
  const owner = {}
  const ports = await Promise.all([leases.lease({ owner, ...monitor }), leases.lease({ owner, ...nbd })])
  expect(ports.toSorted((a, b) => a - b)).toEqual([2, 3])
  await expect(leases.lease({ owner, ...nbd })).rejects.toMatchObject({ code: 'capture.ports_exhausted' })
  await leases.releaseAll(owner)
  expect(targets.size).toBe(0)
  expect(await leases.lease({ owner, ...nbd })).toBeTypeOf('number')
})

test('who comes back gets its own port again: from itself, from one that is being released, and when it was free', async () => {
  const { targets, leases } = openTable()
  const before = {}
  const port = await leases.lease({ owner: before, ...monitor })
  const after = {}
  expect(await leases.lease({ owner: after, ...monitor, port })).toBe(port)
  await leases.releaseAll(before)
  expect(targets.get(port)).toEqual({ path: '/a/qmp' })
  const releasing = leases.releaseAll(after)
  const last = {}
  expect(await leases.lease({ owner: last, ...monitor, port })).toBe(port)
  await releasing
  expect(targets.get(port)).toEqual({ path: '/a/qmp' })
  await leases.releaseAll(last)
  expect(await leases.lease({ owner: {}, ...monitor, port })).toBe(port)
})

test('a port that leads to another service meanwhile is not given', async () => {
  const { leases } = openTable()
  const port = await leases.lease({ owner: {}, ...nbd })
  const wanting = leases.lease({ owner: {}, ...monitor, port })
  await expect(wanting).rejects.toMatchObject({ code: 'capture.ports_exhausted' })
})
