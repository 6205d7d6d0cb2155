import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../block/block-source.ts'
import { PROBE_EXIT_CODE, PROBE_EXIT_PORT, probeDisk } from './probe-boot-sector.ts'

export const accelerators = ['kvm', 'tcg'] as const
export type Accelerator = (typeof accelerators)[number]

const PROBE_TIMEOUT_MS = 4000
let detected: Promise<Accelerator> | undefined

/** The value of QEMU's `-accel`. */
export const acceleratorOption: Readonly<Record<Accelerator, string>> = { kvm: 'kvm', tcg: 'tcg,thread=multi' }

/**
 * `kvm` where a guest proved that it runs there, else `tcg`. A `/dev/kvm` that opens proves nothing. Probed once a
 * process; takes at most four seconds.
 */
export async function detectAccelerator({ signal }: CallOptions): Promise<Accelerator> {
  detected ??= guestRuns('kvm').then((runs) => (runs ? 'kvm' : 'tcg'))
  return await untilAborted(detected, signal)
}

/** Whether a tiny guest reaches 64-bit mode under that accelerator before the deadline. */
export async function guestRuns(accelerator: Accelerator): Promise<boolean> {
  if (accelerator === 'kvm' && !(await canUseKvm())) return false
  const dir = await mkdtemp(join(tmpdir(), 'sendense-probe-'))
  try {
    const disk = join(dir, 'disk.raw')
    await writeFile(disk, probeDisk())
    return (await runProbe(accelerator, disk)) === PROBE_EXIT_CODE
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function canUseKvm(): Promise<boolean> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK)
    return hasHardwareVirtualization(await readFile('/proc/cpuinfo', 'utf8'))
  } catch {
    return false
  }
}

/**
 * Whether the processor says that it has VT-x or AMD-V. A KVM without either emulates its guests by software (PVM): small
 * ones pass any probe, and a Linux kernel ends in an internal error.
 */
export function hasHardwareVirtualization(cpuinfo: string): boolean {
  return /^flags\s*:.*\b(vmx|svm)\b/m.test(cpuinfo)
}

async function runProbe(accelerator: Accelerator, disk: string): Promise<number | undefined> {
  const file = { 'driver': 'file', 'filename': disk, 'node-name': 'probe', 'read-only': true }
  const args = [
    ['-accel', acceleratorOption[accelerator], '-cpu', 'max', '-machine', 'pc', '-m', '32'],
    ['-nodefaults', '-no-user-config', '-display', 'none'],
    ['-device', `isa-debug-exit,iobase=${PROBE_EXIT_PORT},iosize=4`],
    ['-blockdev', JSON.stringify(file), '-device', 'virtio-blk-pci,drive=probe'],
  ].flat()
  return await new Promise((resolve) => {
    const options = { timeout: PROBE_TIMEOUT_MS, killSignal: 'SIGKILL' } as const
    execFile('qemu-system-x86_64', args, options, (error) => {
      resolve(typeof error?.code === 'number' ? error.code : undefined)
    })
  })
}
