import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatLocalTime } from './local-time.ts'
import { type Column, formatFacts, formatTable } from './table.ts'

/** Only where some VM is not on its agent's own machine. */
const host: Column<VmView> = { heading: 'host', text: (vm) => vm.hostName ?? '' }

export function formatVmTable(vms: readonly VmView[]): string {
  return formatTable(
    vms,
    [
      { heading: 'vm', text: (vm) => vm.vmId },
      { heading: 'name', text: (vm) => vm.name },
      { heading: 'site', text: (vm) => vm.siteName },
      ...(vms.some((vm) => vm.hostName !== null) ? [host] : []),
      { heading: 'power', text: powerText },
      { heading: 'disks', text: (vm) => formatByteSize(sizeOf(vm)), align: 'right' },
      { heading: 'points', text: (vm) => String(vm.restorePointCount), align: 'right' },
      { heading: 'last restore point', text: (vm) => formatLocalTime(vm.lastRestorePointAt) },
    ],
    'No VMs.',
  )
}

export function formatVm(vm: VmView): string {
  const facts = formatFacts([
    ['vm', vm.vmId],
    ['name', vm.name],
    ['customer', vm.customerName],
    ['site', vm.siteName],
    ['platform', vm.platform],
    ['host', vm.hostName ?? undefined],
    ['power', powerText(vm)],
    ['guest agent', vm.guestAgent ? 'answers' : 'does not answer'],
    ['memory', formatByteSize(vm.memoryBytes)],
    ['cpus', String(vm.cpuCount)],
    ['restored from', vm.restoredFrom?.restorePointId],
    ['last point', formatLocalTime(vm.lastRestorePointAt)],
    ['points', String(vm.restorePointCount)],
    ['running job', vm.runningJobId ?? undefined],
  ])
  const disks = formatTable(
    vm.disks,
    [
      { heading: 'disk', text: (disk) => disk.diskId },
      { heading: 'size', text: (disk) => formatByteSize(disk.sizeBytes), align: 'right' },
      { heading: 'change tracking', text: (disk) => (disk.changeTracking ? 'yes' : 'no') },
    ],
    'No disks.',
  )
  return `${facts}\n\n${disks}`
}

function powerText(vm: VmView): string {
  return vm.present ? vm.powerState : 'gone from its platform'
}

function sizeOf(vm: VmView): number {
  return vm.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)
}
