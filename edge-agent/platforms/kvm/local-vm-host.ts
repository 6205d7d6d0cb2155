import { open, readdir, rm, stat, statfs } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { createQcow2Image } from '../../qemu/qemu-img.ts'
import { type GuestFreezer, openGuestFreezer } from './guest-freeze.ts'
import type { KvmHost, KvmVm } from './kvm-host.ts'
import { isOurs, ScratchFile } from './session-names.ts'
import type { KvmDisk } from './vm-config.ts'
import type { HostedVm, HostSpace, NewScratch, ServiceAddress, VmHost, VmService } from './vm-host.ts'
import { findVmProcess } from './vm-process.ts'

/** QCOW2 (QEMU docs/interop/qcow2.txt, "Header"): magic at 0, virtual size in bytes as u64, big-endian, at 24. */
const QCOW2_MAGIC = 0x5146_49fb
const QCOW2_HEADER_BYTES = 32
const BLOCK_BYTES = 512

export interface LocalVmHostOptions {
  readonly host: KvmHost
  /** For people; `localhost` unless given. */
  readonly name?: string
  /** Who freezes and thaws a VM's guest: this process through the guest agent's socket, unless given. */
  readonly freezerOf?: (vm: KvmVm) => GuestFreezer
}

/** The VMs of this machine: directories, QEMU processes and their sockets. */
export class LocalVmHost implements VmHost {
  readonly name: string
  readonly patienceMs = 0
  readonly #host: KvmHost
  readonly #freezerOf: (vm: KvmVm) => GuestFreezer
  /** Names of the VMs' directories, where they were found last. */
  readonly #names = new Map<string, string>()

  constructor(options: LocalVmHostOptions) {
    this.#host = options.host
    this.name = options.name ?? 'localhost'
    this.#freezerOf = options.freezerOf ?? ((vm) => openGuestFreezer(vm.guestAgentSocket))
  }

  async listVms({ signal }: CallOptions): Promise<HostedVm[]> {
    signal.throwIfAborted()
    const vms = await this.#host.list()
    return await Promise.all(vms.map(async (vm) => await inspect(vm)))
  }

  async findVm(vmId: string, { signal }: CallOptions): Promise<HostedVm | undefined> {
    signal.throwIfAborted()
    const vm = await this.#find(vmId)
    return vm === undefined ? undefined : await inspect(vm)
  }

  async readDiskSize(vmId: string, diskId: string, { signal }: CallOptions): Promise<number> {
    signal.throwIfAborted()
    const vm = await this.#get(vmId)
    const disk = vm.config.disks.find((candidate) => candidate.diskId === diskId)
    if (disk === undefined) {
      throw new PlatformError('source.disk_unsupported', `${vm.config.name} has no disk ${diskId}`)
    }
    return await readImageSize(join(vm.dir, disk.file), disk.format)
  }

  async createScratch(vmId: string, { file, sizeBytes }: NewScratch, { signal }: CallOptions): Promise<string> {
    signal.throwIfAborted()
    if (!ScratchFile.safeParse(file).success) throw new PlatformError('input.invalid', `${file} is no overlay's name`)
    const path = join((await this.#get(vmId)).dir, file)
    await rm(path, { force: true })
    await createQcow2Image({ path, sizeBytes }, { signal })
    return path
  }

  async removeScratch(vmId: string, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    const { dir } = await this.#get(vmId)
    for (const file of await listScratch(dir)) await rm(join(dir, file), { force: true })
  }

  async measureSpace(vmId: string, { signal }: CallOptions): Promise<HostSpace> {
    signal.throwIfAborted()
    const { dir } = await this.#get(vmId)
    const { bavail, bsize } = await statfs(dir)
    const used = (await listScratch(dir)).map(async (file) => await allocatedBytes(join(dir, file)))
    const scratchBytes = (await Promise.all(used)).reduce((sum, bytes) => sum + bytes, 0)
    return { dir, freeBytes: bavail * bsize, scratchBytes }
  }

  async openService(vmId: string, service: VmService, { signal }: CallOptions): Promise<ServiceAddress> {
    signal.throwIfAborted()
    const vm = await this.#get(vmId)
    if ((await findVmProcess(vm)) === undefined) {
      throw new PlatformError('source.vm_not_running', `VM ${vm.config.name} does not run`, {
        details: { platformRef: vmId },
      })
    }
    const path = { 'monitor': vm.qmpSocket, 'guest-agent': vm.guestAgentSocket, 'nbd': vm.nbdSocket }[service]
    return { path, hostPath: path, [Symbol.asyncDispose]: async () => {} }
  }

  async freezeGuest(vmId: string, { maxMs }: { readonly maxMs: number }, options: CallOptions): Promise<boolean> {
    return await this.#freezerOf(await this.#get(vmId)).freeze({ ...options, maxMs })
  }

  async thawGuest(vmId: string, { attemptsMax }: { readonly attemptsMax?: number } = {}): Promise<number> {
    return await this.#freezerOf(await this.#get(vmId)).thaw(attemptsMax)
  }

  async #get(vmId: string): Promise<KvmVm> {
    return (await this.#find(vmId)) ?? (await this.#host.get(vmId))
  }

  /** Looks where the VM was last before it looks everywhere. */
  async #find(vmId: string): Promise<KvmVm | undefined> {
    const name = this.#names.get(vmId)
    const there = name === undefined ? undefined : await this.#host.findByName(name)
    if (there?.config.vmId === vmId) return there
    this.#names.delete(vmId)
    const found = (await this.#host.list()).find(({ config }) => config.vmId === vmId)
    if (found !== undefined) this.#names.set(vmId, basename(found.dir))
    return found
  }
}

async function inspect(vm: KvmVm): Promise<HostedVm> {
  const running = (await findVmProcess(vm)) !== undefined
  return { config: vm.config, running, scratchFiles: await listScratch(vm.dir).catch(() => []) }
}

async function listScratch(dir: string): Promise<string[]> {
  return (await readdir(dir)).filter((file) => isOurs(file) && file.endsWith('.fleece'))
}

/** 0 for a file that has just gone. */
async function allocatedBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).blocks * BLOCK_BYTES
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0
    throw error
  }
}

async function readImageSize(path: string, format: KvmDisk['format']): Promise<number> {
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
