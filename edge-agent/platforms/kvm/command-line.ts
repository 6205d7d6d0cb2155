import { join } from 'node:path'
import { type Accelerator, acceleratorOption } from '../../qemu/accelerator.ts'
import type { KvmVm } from './kvm-host.ts'
import type { KvmDisk } from './vm-config.ts'

const MIB = 1024 * 1024

/** Id of the disk's device: QEMU's HMP reaches it as `/machine/peripheral/<id>/virtio-backend`. */
export function deviceId(diskId: string): string {
  return `${diskId}-device`
}

/**
 * QEMU's arguments for a VM. Disks are explicit nodes, named as their ids, that pass discards on and never turn data
 * into zeros by themselves: a zero in the backup is one the guest wrote.
 */
export function vmCommandLine(
  vm: KvmVm,
  options: { readonly accelerator: Accelerator; readonly paused?: boolean },
): string[] {
  const { config } = vm
  return [
    ['-name', `guest=${config.name}`, '-uuid', config.vmId],
    ['-machine', 'pc', '-accel', acceleratorOption[options.accelerator], '-cpu', 'max'],
    ['-smp', String(config.cpuCount), '-m', `${Math.ceil(config.memoryBytes / MIB)}M`],
    ['-nodefaults', '-no-user-config', '-display', 'none', '-pidfile', vm.pidFile],
    options.paused === true ? ['-S'] : [],
    ['-chardev', `socket,id=qmp,server=on,wait=off,path=${escaped(vm.qmpSocket)}`],
    ['-mon', 'chardev=qmp,mode=control'],
    ['-chardev', `file,id=console,path=${escaped(vm.consoleLog)}`, '-serial', 'chardev:console'],
    ['-device', 'virtio-rng-pci', '-device', 'virtio-serial-pci'],
    ['-chardev', `socket,id=guest-agent,server=on,wait=off,path=${escaped(vm.guestAgentSocket)}`],
    ['-device', 'virtserialport,chardev=guest-agent,name=org.qemu.guest_agent.0'],
    config.disks.flatMap((disk, index) => diskArguments(disk, vm.dir, index)),
    config.network === 'user' ? ['-netdev', 'user,id=net0', '-device', 'virtio-net-pci,netdev=net0'] : [],
  ].flat()
}

function diskArguments(disk: KvmDisk, dir: string, index: number): string[] {
  const node = {
    'driver': disk.format,
    'node-name': disk.diskId,
    'discard': 'unmap',
    'detect-zeroes': 'off',
    'file': { driver: 'file', filename: join(dir, disk.file), discard: 'unmap' },
  }
  const device = `virtio-blk-pci,id=${deviceId(disk.diskId)},drive=${disk.diskId},bootindex=${index + 1}`
  return ['-blockdev', JSON.stringify(node), '-device', device]
}

/** In QEMU's option lists a comma is written twice. */
function escaped(path: string): string {
  return path.replaceAll(',', ',,')
}
