import type { CallOptions } from '../../block/block-source.ts'
import type { SourceVm } from '../source-connector.ts'
import { isGuestAgentConnected, queryNodes, queryPowerState } from './block-queries.ts'
import { type HostedVm, type LocatedVm, platformRefOf, type VmHost } from './vm-host.ts'
import type { VmMonitors } from './vm-monitors.ts'

const ANSWER_TIMEOUT_MS = 5000

/**
 * The VM as it is now. A QEMU that does not answer within seconds gives power state `unknown`, no error: one stuck VM
 * does not hide the others. Rejects with `source.disk_unsupported` when a disk's file cannot be read.
 */
export async function describeVm(
  host: VmHost,
  { config, running }: HostedVm,
  { monitors, signal }: CallOptions & { readonly monitors: VmMonitors },
): Promise<SourceVm> {
  const live = running ? await askQemu({ host, config }, monitors, signal) : undefined
  const disks = config.disks.map(async ({ diskId, format }) => ({
    diskId,
    sizeBytes: live?.sizes.get(diskId) ?? (await host.readDiskSize(config.vmId, diskId, { signal })),
    changeTracking: format === 'qcow2',
  }))
  return {
    platformRef: platformRefOf({ host, config }),
    name: config.name,
    ...(host.hostId === undefined ? {} : { hostName: host.name }),
    powerState: running ? (live?.powerState ?? 'unknown') : 'stopped',
    guestAgent: live?.guestAgent ?? false,
    memoryBytes: config.memoryBytes,
    cpuCount: config.cpuCount,
    disks: await Promise.all(disks),
    definition: { platform: 'kvm', version: 1, firmware: config.firmware, network: config.network },
    ...(config.creationId === undefined ? {} : { creationId: config.creationId }),
  }
}

interface LiveFacts {
  readonly powerState: SourceVm['powerState']
  readonly guestAgent: boolean
  readonly sizes: ReadonlyMap<string, number>
}

async function askQemu(vm: LocatedVm, monitors: VmMonitors, signal: AbortSignal): Promise<LiveFacts | undefined> {
  const options = { signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]) }
  try {
    await using lease = await monitors.acquire(vm, options)
    const [powerState, guestAgent, nodes] = await Promise.all([
      queryPowerState(lease.qmp, options),
      isGuestAgentConnected(lease.qmp, options),
      queryNodes(lease.qmp, options),
    ])
    return { powerState, guestAgent, sizes: new Map(nodes.map((node) => [node.nodeName, node.sizeBytes])) }
  } catch {
    signal.throwIfAborted()
    return undefined
  }
}
