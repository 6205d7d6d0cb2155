import { expect, test } from 'vitest'
import { VmMonitors } from '../platforms/kvm/vm-monitors.ts'
import { CaptureHosts } from './capture-hosts.ts'

const one = { captureAgentId: 'a', name: 'kvm2', ports: [3, 2] }
const two = { captureAgentId: 'b', name: 'kvm1', ports: [2] }

function open() {
  return new CaptureHosts({ socketPath: (captureAgentId, port) => `/nowhere/${captureAgentId}/${port}.sock` })
}

test('there is one host for each grant, by name; one whose grant stays is the same', async () => {
  await using hosts = open()
  await hosts.update([one, two])
  const [first, second] = hosts.list()
  expect([first?.host.name, second?.host.name]).toEqual(['kvm1', 'kvm2'])
  expect(first?.host.hostId).toBe('b')
  await hosts.update([two, one])
  expect(hosts.list()).toEqual([first, second])
  expect(hosts.list()[0]?.host).toBe(first?.host)
  await hosts.update([one])
  expect(hosts.list().map(({ host }) => host)).toEqual([second?.host])
})

test('a host whose grant is another one now is another host', async () => {
  await using hosts = open()
  await hosts.update([one])
  const before = hosts.list()[0]?.host
  await hosts.update([{ ...one, name: 'renamed' }])
  expect(hosts.list()[0]?.host).not.toBe(before)
  expect(hosts.list()[0]?.host.name).toBe('renamed')
  await expect(before?.listVms({ signal: AbortSignal.timeout(5000) })).rejects.toMatchObject({
    code: 'source.unreachable',
  })
})

test('each host has one connector for new VMs', async () => {
  await using hosts = open()
  await using monitors = new VmMonitors()
  await hosts.update([one])
  const host = hosts.list()[0]
  expect(host?.openTarget(monitors)).toBe(host?.openTarget(monitors))
})
