import { mkdir, rename, rm } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { type Accelerator, detectAccelerator } from '../../qemu/accelerator.ts'
import { findProcess, startDetachedQemu, stopProcess } from '../../qemu/qemu-process.ts'
import { vmCommandLine } from './command-line.ts'
import type { KvmVm } from './kvm-host.ts'

/** unix(7): sun_path is 108 bytes with its terminating zero. */
const SOCKET_PATH_MAX_BYTES = 107

export interface StartVmOptions extends CallOptions {
  /** Probed unless given. */
  readonly accelerator?: Accelerator
  /** Starts with stopped CPUs (`-S`): for tests of the block layer. */
  readonly paused?: boolean
}

/** The VM's QEMU process, if it runs. */
export async function findVmProcess(vm: KvmVm): Promise<number | undefined> {
  return await findProcess(vm.pidFile, vm.config.vmId)
}

/**
 * Starts a VM that does not run; returns QEMU's process id. The console of the run before is kept beside the new one.
 * Rejects with `qemu.start_failed`, `config.invalid` when the runtime directory's path is too long.
 */
export async function startVmProcess(vm: KvmVm, options: StartVmOptions): Promise<number> {
  const running = await findVmProcess(vm)
  if (running !== undefined) return running
  for (const path of [vm.qmpSocket, vm.guestAgentSocket, vm.nbdSocket]) {
    if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES) {
      throw new PlatformError('config.invalid', `the socket path ${path} is longer than 107 bytes`)
    }
  }
  const accelerator = options.accelerator ?? (await detectAccelerator(options))
  await mkdir(vm.runtimeDir, { recursive: true, mode: 0o700 })
  await rm(vm.pidFile, { force: true })
  await rename(vm.consoleLog, `${vm.consoleLog}.previous`).catch(ignoreMissing)
  await startDetachedQemu(vmCommandLine(vm, { ...options, accelerator }), options)
  const pid = await findVmProcess(vm)
  if (pid === undefined)
    throw new PlatformError('qemu.start_failed', `QEMU of ${vm.config.name} ended directly after its start`)
  return pid
}

/** Ends the VM's QEMU as a power cut would for the guest, but with its disks closed cleanly. */
export async function stopVmProcess(vm: KvmVm, options: CallOptions): Promise<void> {
  const pid = await findVmProcess(vm)
  if (pid !== undefined) await stopProcess(pid, vm.config.vmId, options)
  await rm(vm.pidFile, { force: true })
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
}
