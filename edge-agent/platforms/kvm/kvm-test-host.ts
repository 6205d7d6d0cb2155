import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Extent } from '@sendense/shared/domain/extent.ts'
import { z } from 'zod'
import { queryNodes } from './block-queries.ts'
import { deviceId } from './command-line.ts'
import { KvmHost, type KvmVm } from './kvm-host.ts'
import { KvmSourceConnector, type KvmSourceOptions } from './kvm-source-connector.ts'
import { LocalVmHost } from './local-vm-host.ts'
import { createDiskImage } from './new-disk-image.ts'
import { type KvmDisk, type VmConfig, writeVmConfig } from './vm-config.ts'
import { VmMonitors } from './vm-monitors.ts'
import { startVmProcess, stopVmProcess } from './vm-process.ts'

const options = { signal: AbortSignal.timeout(10 * 60_000) }

/** QOM path of the device that the guest sees a disk through. */
export function backendOf(diskId: string): string {
  return `/machine/peripheral/${deviceId(diskId)}/virtio-backend`
}

interface NewTestDisk {
  readonly diskId: string
  readonly sizeBytes: number
  readonly raw?: boolean
}

async function createTestDisk(dir: string, { diskId, sizeBytes, raw = false }: NewTestDisk): Promise<KvmDisk> {
  if (!raw) return await createDiskImage(dir, { diskId, sizeBytes }, options)
  const file = `${diskId}.raw`
  await writeFile(join(dir, file), '')
  await truncate(join(dir, file), sizeBytes)
  return { diskId, file, format: 'raw' }
}

/** A KVM host in a temporary directory, for tests: QEMU with stopped CPUs, and the guest's hand on its disks. */
export class KvmTestHost implements AsyncDisposable {
  readonly dir: string
  readonly host: KvmHost
  readonly local: LocalVmHost
  monitors = new VmMonitors()

  private constructor(dir: string) {
    this.dir = dir
    this.host = new KvmHost({ rootDir: join(dir, 'vms'), runtimeDir: join(dir, 'run') })
    this.local = new LocalVmHost({ host: this.host })
  }

  static async open(): Promise<KvmTestHost> {
    const made = new KvmTestHost(await mkdtemp(join(tmpdir(), 'sd-kvm-')))
    await mkdir(made.host.rootDir)
    return made
  }

  /** A connector of this machine alone, on the monitors of this object. */
  connect(more: Partial<KvmSourceOptions> = {}): KvmSourceConnector {
    return new KvmSourceConnector({ hosts: () => [this.local], monitors: this.monitors, ...more })
  }

  /** Makes a VM with empty disks; raw ones cannot track changes. */
  async addVm(name: string, disks: readonly NewTestDisk[]): Promise<KvmVm> {
    const draft = await this.host.createDraft(randomUUID())
    const made = await Promise.all(disks.map(async (disk) => await createTestDisk(draft, disk)))
    const config: VmConfig = {
      version: 1,
      vmId: randomUUID(),
      name,
      memoryBytes: 32 * 1024 * 1024,
      cpuCount: 1,
      disks: made,
      firmware: 'bios',
      network: 'none',
    }
    await writeVmConfig(draft, config)
    return await this.host.publishDraft(draft, config)
  }

  /** Starts QEMU, but not the guest's CPUs. */
  async start(vm: KvmVm): Promise<number> {
    return await startVmProcess(vm, { ...options, accelerator: 'tcg', paused: true })
  }

  /** A write as the guest's device makes it: `write -P 1 0 512`, `discard 0 64k` (qemu-io). */
  async guestIo(vm: KvmVm, diskId: string, command: string): Promise<void> {
    const line = `qemu-io -d ${backendOf(diskId)} "${command}"`
    const answer = await this.qmp(vm, 'human-monitor-command', { 'command-line': line }, z.string())
    // What qemu-io prints goes to QEMU's own standard output; only errors come back.
    if (answer !== '') throw new Error(`${command}: ${answer}`)
  }

  async fill(vm: KvmVm, diskId: string, extent: Extent, byte: number): Promise<void> {
    await this.guestIo(vm, diskId, `write -P ${byte} ${extent.offsetBytes} ${extent.lengthBytes}`)
  }

  async bitmaps(vm: KvmVm, diskId: string): Promise<string[]> {
    await using lease = await this.monitors.acquire({ host: this.local, config: vm.config }, options)
    const node = (await queryNodes(lease.qmp, options)).find(({ nodeName }) => nodeName === diskId)
    return node?.bitmaps.map(({ name }) => name) ?? []
  }

  async qmp<T>(vm: KvmVm, command: string, args: object, answer: z.ZodType<T>): Promise<T> {
    await using lease = await this.monitors.acquire({ host: this.local, config: vm.config }, options)
    return await lease.qmp.execute(command, args, answer, options)
  }

  /** The connections of this process to QEMU are cut, as when it dies. */
  async cutMonitors(): Promise<void> {
    const old = this.monitors
    this.monitors = new VmMonitors()
    await old[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.monitors[Symbol.asyncDispose]()
    for (const vm of await this.host.list().catch(() => [])) await stopVmProcess(vm, options)
    await rm(this.dir, { recursive: true, force: true })
  }
}
