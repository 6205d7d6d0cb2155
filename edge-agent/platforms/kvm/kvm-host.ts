import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { readVmConfig, type VmConfig } from './vm-config.ts'

/** A VM's configuration and where its parts are. */
export interface KvmVm {
  readonly config: VmConfig
  readonly dir: string
  readonly runtimeDir: string
  readonly qmpSocket: string
  readonly guestAgentSocket: string
  readonly nbdSocket: string
  readonly pidFile: string
  readonly consoleLog: string
}

const CREATING_PREFIX = '.creating-'
const DELETING_PREFIX = '.deleting-'

/**
 * The layout of a plain-QEMU host: `<root>/<name>/` holds vm.json, disks, console.log and qemu.pid; sockets are under
 * the runtime directory, whose path must be short (unix(7): 107 bytes). Directories that begin with a dot are VMs
 * in the making or being deleted and are not listed.
 */
export class KvmHost {
  readonly rootDir: string
  readonly runtimeDir: string

  constructor(options: { readonly rootDir: string; readonly runtimeDir: string }) {
    this.rootDir = resolve(options.rootDir)
    this.runtimeDir = resolve(options.runtimeDir)
  }

  /** By name. A directory whose vm.json cannot be trusted is left out; `find` says what is wrong with it. */
  async list(): Promise<KvmVm[]> {
    const vms: KvmVm[] = []
    for (const name of await this.names()) {
      const vm = await this.findByName(name)
      if (vm !== undefined) vms.push(vm)
    }
    return vms
  }

  /** Names of all directories that should be VMs, sorted. Rejects with `source.unreachable` when the root cannot be read. */
  async names(): Promise<string[]> {
    const entries = await this.#entries()
    return entries.filter((name) => !name.startsWith('.')).toSorted()
  }

  /** Rejects with `source.vm_not_found`. */
  async get(vmId: string): Promise<KvmVm> {
    const vm = (await this.list()).find((candidate) => candidate.config.vmId === vmId)
    if (vm === undefined) {
      throw new PlatformError('source.vm_not_found', `there is no VM ${vmId} under ${this.rootDir}`, {
        details: { platformRef: vmId },
      })
    }
    return vm
  }

  async findByName(name: string): Promise<KvmVm | undefined> {
    const dir = join(this.rootDir, name)
    try {
      return this.#vm(await readVmConfig(dir), dir)
    } catch (error) {
      if (isPlatformError(error)) return undefined
      throw error
    }
  }

  /** VMs that `createDraft` made and nobody published. */
  async drafts(): Promise<{ readonly creationId: string; readonly dir: string; readonly name: string | undefined }[]> {
    const entries = (await this.#entries()).filter((entry) => entry.startsWith(CREATING_PREFIX))
    return await Promise.all(
      entries.map(async (entry) => {
        const dir = join(this.rootDir, entry)
        const config = await readVmConfig(dir).catch(() => undefined)
        return { creationId: entry.slice(CREATING_PREFIX.length), dir, name: config?.name }
      }),
    )
  }

  /** Makes the directory of a VM that is not listed yet; it must not exist. */
  async createDraft(creationId: string): Promise<string> {
    const dir = join(this.rootDir, `${CREATING_PREFIX}${creationId}`)
    await mkdir(this.rootDir, { recursive: true, mode: 0o700 })
    await mkdir(dir, { mode: 0o700 })
    return dir
  }

  async removeDraft(creationId: string): Promise<void> {
    await rm(join(this.rootDir, `${CREATING_PREFIX}${creationId}`), { recursive: true, force: true })
  }

  /** Turns a draft into a listed VM, durably. Rejects with `target.vm_exists` when the name is taken. */
  async publishDraft(dir: string, config: VmConfig): Promise<KvmVm> {
    const finalDir = join(this.rootDir, config.name)
    try {
      await rename(dir, finalDir) // rename(2): replaces an empty directory, but nothing that holds something
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code !== 'EEXIST' && code !== 'ENOTEMPTY' && code !== 'ENOTDIR') throw error
      throw new PlatformError('target.vm_exists', `there is a VM ${config.name} already`, { cause: error })
    }
    await this.#syncRoot()
    return this.#vm(config, finalDir)
  }

  /** Takes a VM off the list at once; returns the directory to remove. */
  async unpublish(vm: KvmVm): Promise<string> {
    const dir = join(this.rootDir, `${DELETING_PREFIX}${vm.config.vmId}`)
    await rename(vm.dir, dir)
    await this.#syncRoot()
    return dir
  }

  /** Directories that `unpublish` left when it was cut off. */
  async unpublished(): Promise<string[]> {
    const entries = await this.#entries()
    return entries.filter((entry) => entry.startsWith(DELETING_PREFIX)).map((entry) => join(this.rootDir, entry))
  }

  async #entries(): Promise<string[]> {
    try {
      const entries = await readdir(this.rootDir, { withFileTypes: true })
      return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
    } catch (error) {
      throw new PlatformError('source.unreachable', `the directory of VMs ${this.rootDir} cannot be read`, {
        cause: error,
      })
    }
  }

  async #syncRoot(): Promise<void> {
    await using root = await open(this.rootDir)
    await root.sync()
  }

  #vm(config: VmConfig, dir: string): KvmVm {
    const runtimeDir = join(this.runtimeDir, config.vmId.replaceAll('-', '').slice(0, 12))
    return {
      config,
      dir,
      runtimeDir,
      qmpSocket: join(runtimeDir, 'qmp.sock'),
      guestAgentSocket: join(runtimeDir, 'qga.sock'),
      nbdSocket: join(runtimeDir, 'nbd.sock'),
      pidFile: join(dir, 'qemu.pid'),
      consoleLog: join(dir, 'console.log'),
    }
  }
}
