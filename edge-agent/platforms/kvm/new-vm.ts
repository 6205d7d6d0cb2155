import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BlockSink } from '../../block/block-sink.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { lazyNbdSink } from '../../nbd/client/lazy-nbd-disk.ts'
import { QEMU_OPENERS_MAX } from '../../nbd/client/openers-max.ts'
import { type StorageDaemon, startStorageDaemon } from '../../qemu/storage-daemon.ts'
import type { NewVm } from '../target-connector.ts'
import type { KvmHost } from './kvm-host.ts'
import { createDiskImage } from './new-disk-image.ts'
import { type VmConfig, writeVmConfig } from './vm-config.ts'

export interface NewVmParts {
  readonly host: KvmHost
  readonly creationId: string
  readonly config: VmConfig
  readonly disks: readonly { readonly diskId: string; readonly sizeBytes: number }[]
  /** Called once, when the creation is finished or removed. */
  readonly onClosed: () => void
}

/**
 * Makes a draft with empty disks and serves them for writing. The storage daemon dies with this process, so a dead
 * creation is a directory that nobody has open.
 * Rejects with `qemu.*` or what the file system says; then nothing is left.
 */
export async function openNewVm(parts: NewVmParts, { signal }: CallOptions): Promise<NewVm> {
  const { host, creationId, config, disks } = parts
  await host.removeDraft(creationId)
  const dir = await host.createDraft(creationId)
  try {
    // First, so that the name is taken from here on.
    await writeVmConfig(dir, config)
    for (const disk of disks) await createDiskImage(dir, disk, { signal })
    const daemon = await serveDisks(host, config, dir, { signal })
    return new DraftVm(parts, dir, daemon)
  } catch (error) {
    await rm(dir, { recursive: true, force: true })
    throw error
  }
}

async function serveDisks(host: KvmHost, config: VmConfig, dir: string, options: CallOptions): Promise<StorageDaemon> {
  const nodes = config.disks.map(({ diskId, file }) => ({
    'driver': 'qcow2',
    'node-name': diskId,
    'discard': 'unmap',
    'detect-zeroes': 'off',
    'file': { driver: 'file', filename: join(dir, file), discard: 'unmap' },
  }))
  const exports = config.disks.map(({ diskId }) => ({
    name: exportName(config, diskId),
    nodeName: diskId,
    writable: true,
  }))
  return await startStorageDaemon({ runtimeDir: host.runtimeDir, nodes, exports }, options)
}

class DraftVm implements NewVm {
  readonly disks: ReadonlyMap<string, BlockSink>
  readonly #parts: NewVmParts
  readonly #dir: string
  readonly #daemon: StorageDaemon
  #finished = false
  #closed: Promise<void> | undefined

  constructor(parts: NewVmParts, dir: string, daemon: StorageDaemon) {
    this.#parts = parts
    this.#dir = dir
    this.#daemon = daemon
    const sinks = parts.disks.map(({ diskId, sizeBytes }) => {
      const endpoint = daemon.endpoint(exportName(parts.config, diskId))
      return [diskId, lazyNbdSink({ endpoint, sizeBytes, openersMax: QEMU_OPENERS_MAX })] as const
    })
    this.disks = new Map(sinks)
  }

  async finish(options: CallOptions): Promise<string> {
    const { host, config, onClosed } = this.#parts
    await this.#closeSinks()
    await this.#daemon.stop(options)
    for (const { file } of config.disks) await syncFile(join(this.#dir, file))
    await syncFile(this.#dir)
    await host.publishDraft(this.#dir, config)
    this.#finished = true
    onClosed()
    return config.vmId
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  async #close(): Promise<void> {
    await this.#closeSinks()
    await this.#daemon[Symbol.asyncDispose]()
    if (this.#finished) return
    await rm(this.#dir, { recursive: true, force: true })
    this.#parts.onClosed()
  }

  async #closeSinks(): Promise<void> {
    await Promise.allSettled([...this.disks.values()].map(async (sink) => await sink[Symbol.asyncDispose]()))
  }
}

/** Never that of another VM's disk: who comes back by another way writes into no other disk. */
function exportName({ vmId }: VmConfig, diskId: string): string {
  return `sendense-${vmId}-${diskId}`
}

async function syncFile(path: string): Promise<void> {
  await using file = await open(path)
  await file.sync()
}
