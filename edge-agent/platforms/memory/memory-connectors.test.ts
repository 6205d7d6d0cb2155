import type { Extent } from '@sendense/shared/domain/extent.ts'
import { expect, test } from 'vitest'
import { describeSourceConnector, type SourceFixture } from '../source-connector.conformance.ts'
import { describeTargetConnector, type TargetFixture } from '../target-connector.conformance.ts'
import { MemoryHypervisor } from './memory-hypervisor.ts'
import { MemorySourceConnector } from './memory-source-connector.ts'
import { MemoryTargetConnector } from './memory-target-connector.ts'

const options = { signal: AbortSignal.timeout(60_000) }
const DISK_BYTES = 4 * 1024 * 1024

async function openSource(): Promise<SourceFixture> {
  const hypervisor = new MemoryHypervisor()
  const disks = ['disk0', 'disk1'].map((diskId) => ({ diskId, sizeBytes: DISK_BYTES }))
  const platformRef = hypervisor.addVm({ name: 'guest', disks })
  let connector = new MemorySourceConnector(hypervisor)
  const write = async (diskId: string, extent: Extent, byte: number) => {
    const bytes = new Uint8Array(extent.lengthBytes).fill(byte)
    await hypervisor.disk(platformRef, diskId).write(extent.offsetBytes, bytes, options)
  }
  const zero = async (diskId: string, { offsetBytes, lengthBytes }: Extent) => {
    await hypervisor.disk(platformRef, diskId).writeZeroes(offsetBytes, lengthBytes, options)
  }
  return {
    get connector() {
      return connector
    },
    platformRef,
    disks,
    fill: write,
    zero,
    discard: zero,
    checkpoints: async (diskId) => [...hypervisor.vmDisk(platformRef, diskId).checkpoints.keys()],
    addForeignCheckpoint: async (diskId, name) => {
      const { checkpoints, content } = hypervisor.vmDisk(platformRef, diskId)
      checkpoints.set(name, content.addTracker())
    },
    crash: async () => {
      connector = new MemorySourceConnector(hypervisor)
    },
    [Symbol.asyncDispose]: async () => {},
  }
}

async function openTarget(): Promise<TargetFixture> {
  const hypervisor = new MemoryHypervisor()
  let connector = new MemoryTargetConnector(hypervisor)
  return {
    get connector() {
      return connector
    },
    source: new MemorySourceConnector(hypervisor),
    read: async (platformRef, diskId) => hypervisor.disk(platformRef, diskId).bytes,
    addForeignVm: async (name) => hypervisor.addVm({ name, disks: [{ diskId: 'disk0', sizeBytes: 65_536 }] }),
    crash: async () => {
      connector = new MemoryTargetConnector(hypervisor)
    },
    leftovers: async () => hypervisor.drafts.size,
    [Symbol.asyncDispose]: async () => {},
  }
}

describeSourceConnector('memory', openSource)
describeTargetConnector('memory', openTarget)

test('a disk that cannot track changes is read in full, and compared when its base is known', async () => {
  const hypervisor = new MemoryHypervisor()
  const sizeBytes = 65_536
  const platformRef = hypervisor.addVm({ name: 'raw', disks: [{ diskId: 'disk0', sizeBytes, changeTracking: false }] })
  const connector = new MemorySourceConnector(hypervisor)
  const token = { diskId: 'disk0', sizeBytes, checkpoint: '', granularityBytes: 0 }
  for (const [base, reason] of [
    [new Map(), 'FULL_FIRST'],
    [new Map([['disk0', token]]), 'COMPARE_NO_TRACKING'],
  ] as const) {
    const request = { platformRef, sessionId: 'a', quiesce: false, base, full: false }
    await using session = await connector.openBackup(request, options)
    expect(session.disks.map((disk) => [disk.reason, disk.token])).toEqual([[reason, undefined]])
  }
})

test('a guest with an agent is quiesced when that is asked for', async () => {
  const hypervisor = new MemoryHypervisor()
  const disks = [{ diskId: 'disk0', sizeBytes: 65_536 }]
  const platformRef = hypervisor.addVm({ name: 'guest', guestAgent: true, disks })
  const connector = new MemorySourceConnector(hypervisor)
  for (const [quiesce, consistency] of [
    [true, 'filesystem'],
    [false, 'crash'],
  ] as const) {
    const request = { platformRef, sessionId: 'a', quiesce, base: new Map(), full: false }
    await using session = await connector.openBackup(request, options)
    expect(session.consistency).toBe(consistency)
  }
})
