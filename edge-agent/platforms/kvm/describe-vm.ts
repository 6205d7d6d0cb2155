import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { SourceVm } from '../source-connector.ts'
import { isGuestAgentConnected, queryNodes, queryPowerState } from './block-queries.ts'
import type { KvmVm } from './kvm-host.ts'
import type { KvmDisk } from './vm-config.ts'
import type { VmMonitors } from './vm-monitors.ts'
import { findVmProcess } from './vm-process.ts'

const ANSWER_TIMEOUT_MS = 5000
/** QCOW2 (QEMU docs/interop/qcow2.txt, "Header"): magic at 0, virtual size in bytes as u64, big-endian, at 24. */
const QCOW2_MAGIC = 0x5146_49fb
const QCOW2_HEADER_BYTES = 32

/**
 * The VM as it is now. A QEMU that does not answer within seconds gives power state `unknown`, no error: one stuck VM
 * does not hide the others. Rejects with `source.disk_unsupported` when a disk's file cannot be read.
 */
export async function describeVm(vm: KvmVm, monitors: VmMonitors, { signal }: CallOptions): Promise<SourceVm> {
  const pid = await findVmProcess(vm)
  const live = pid === undefined ? undefined : await askQemu(vm, monitors, signal)
  const { config } = vm
  const disks = config.disks.map(async (disk) => ({
    diskId: disk.diskId,
    sizeBytes: live?.sizes.get(disk.diskId) ?? (await readDiskSize(join(vm.dir, disk.file), disk.format)),
    changeTracking: disk.format === 'qcow2',
  }))
  return {
    platformRef: config.vmId,
    name: config.name,
    powerState: pid === undefined ? 'stopped' : (live?.powerState ?? 'unknown'),
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

async function askQemu(vm: KvmVm, monitors: VmMonitors, signal: AbortSignal): Promise<LiveFacts | undefined> {
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

async function readDiskSize(path: string, format: KvmDisk['format']): Promise<number> {
  try {
    if (format === 'raw') return (await stat(path)).size
    await using file = await open(path)
    const header = Buffer.alloc(QCOW2_HEADER_BYTES)
    const { bytesRead } = await file.read(header, 0, QCOW2_HEADER_BYTES, 0)
    if (bytesRead === QCOW2_HEADER_BYTES && header.readUInt32BE(0) === QCOW2_MAGIC) {
      const sizeBytes = Number(header.readBigUInt64BE(24))
      if (Number.isSafeInteger(sizeBytes)) return sizeBytes
    }
  } catch (error) {
    throw new PlatformError('source.disk_unsupported', `the disk ${path} cannot be read`, { cause: error })
  }
  throw new PlatformError('source.disk_unsupported', `the disk ${path} is not a QCOW2 image`)
}
