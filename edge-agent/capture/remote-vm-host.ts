import { setTimeout as delay } from 'node:timers/promises'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { HostedVm, HostSpace, NewScratch, ServiceAddress, VmHost, VmService } from '../platforms/kvm/vm-host.ts'
import type { ParamsOf } from './capture-protocol.ts'
import { ControlClient } from './control-client.ts'
import type { ControlConnection } from './control-connection.ts'

/** A backup goes on through a cut of its way that is shorter. */
export const PATIENCE_MS = 60_000
/** How long a free port is waited for. Not for ever: those that hold the others may wait for this one. */
const PORT_WAIT_MS = 10_000
const PORT_POLL_MS = 200
/** A listing of all hosts does not wait for long for one of them. */
const LIST_WAIT_MS = 2000

export interface RemoteVmHostOptions {
  readonly captureAgentId: string
  /** The host's, for people. */
  readonly name: string
  /** Granted ports; the first one is the control socket, the others lead to services. */
  readonly ports: readonly [number, ...number[]]
  /** Where a port is reached on this machine; `TunnelServer.socketPath`. */
  readonly socketPath: (port: number) => string
  /** `PATIENCE_MS` unless given. */
  readonly patienceMs?: number
  /** Called when the host is there, first or again. */
  readonly onReachable?: () => void
}

interface HeldAddress {
  readonly vmId: string
  readonly service: VmService
  readonly port: number
}

/**
 * A host that a capture agent speaks for, through its tunnel. A connection that is lost is made again, and with it the
 * ways to services that are held; they keep their paths.
 */
export class RemoteVmHost implements VmHost, AsyncDisposable {
  readonly hostId: string
  readonly name: string
  readonly patienceMs: number
  readonly #socketPath: (port: number) => string
  readonly #held = new Set<HeldAddress>()
  readonly #control: ControlClient

  constructor(options: RemoteVmHostOptions) {
    const { captureAgentId, name, ports, socketPath, patienceMs = PATIENCE_MS, onReachable } = options
    this.hostId = captureAgentId
    this.name = name
    this.patienceMs = patienceMs
    this.#socketPath = socketPath
    this.#control = new ControlClient({
      path: socketPath(ports[0]),
      name,
      patienceMs,
      onConnected: async (connection) => {
        await this.#resume(connection)
        onReachable?.()
      },
    })
  }

  /** For what else the capture agent can do. */
  get control(): ControlClient {
    return this.#control
  }

  /** Where a port of this host is reached on this machine. */
  socketPath(port: number): string {
    return this.#socketPath(port)
  }

  get isReachable(): boolean {
    return this.#control.isConnected
  }

  async listVms({ signal }: CallOptions): Promise<HostedVm[]> {
    const vms: HostedVm[] = []
    let params: ParamsOf<'list-vms'> = {}
    for (;;) {
      const page = await this.#control.call('list-vms', params, { signal, waitMs: LIST_WAIT_MS })
      vms.push(...page.vms)
      if (page.next === undefined) return vms
      params = { after: page.next }
    }
  }

  async findVm(vmId: string, { signal }: CallOptions): Promise<HostedVm | undefined> {
    return (await this.#control.call('find-vm', { vmId }, { signal })).vm
  }

  async readDiskSize(vmId: string, diskId: string, { signal }: CallOptions): Promise<number> {
    return (await this.#control.call('read-disk-size', { vmId, diskId }, { signal })).sizeBytes
  }

  async createScratch(vmId: string, { file, sizeBytes }: NewScratch, { signal }: CallOptions): Promise<string> {
    return (await this.#control.call('create-scratch', { vmId, file, sizeBytes }, { signal })).path
  }

  async removeScratch(vmId: string, { signal }: CallOptions): Promise<void> {
    await this.#control.call('remove-scratch', { vmId }, { signal })
  }

  async measureSpace(vmId: string, { signal }: CallOptions): Promise<HostSpace> {
    const { dir, ...space } = await this.#control.call('measure-space', { vmId }, { signal })
    return { dir: `${this.name}:${dir}`, ...space }
  }

  async openService(vmId: string, service: VmService, { signal }: CallOptions): Promise<ServiceAddress> {
    const { port, hostPath } = await this.#lease(vmId, service, signal)
    const held = { vmId, service, port }
    this.#held.add(held)
    return {
      path: this.#socketPath(port),
      hostPath,
      [Symbol.asyncDispose]: async () => {
        if (this.#held.delete(held)) this.#control.tell('close-service', { port })
      },
    }
  }

  async freezeGuest(vmId: string, { maxMs }: { readonly maxMs: number }, { signal }: CallOptions): Promise<boolean> {
    return (await this.#control.call('freeze', { vmId, maxMs }, { signal, once: true })).frozen
  }

  async thawGuest(vmId: string, { attemptsMax }: { readonly attemptsMax?: number } = {}): Promise<number> {
    const params = attemptsMax === undefined ? { vmId } : { vmId, attemptsMax }
    return (await this.#control.call('thaw', params, { signal: new AbortController().signal })).fileSystems
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#control[Symbol.asyncDispose]()
  }

  async #lease(vmId: string, service: VmService, signal: AbortSignal) {
    const giveUpMs = Date.now() + PORT_WAIT_MS
    for (;;) {
      try {
        return await this.#control.call('open-service', { vmId, service }, { signal })
      } catch (error) {
        if (!isPlatformError(error, 'capture.ports_exhausted') || Date.now() > giveUpMs) throw error
        await untilAborted(delay(PORT_POLL_MS), signal)
      }
    }
  }

  /** A way that cannot be had again stays without an end: who uses it sees it refuse connections. */
  async #resume(connection: ControlConnection): Promise<void> {
    const { signal } = new AbortController()
    const taking = [...this.#held].map(async ({ vmId, service, port }) => {
      await connection.call('open-service', { vmId, service, port }, { signal })
    })
    const ends = await Promise.allSettled(taking)
    const cut = ends.find((end) => end.status === 'rejected' && isPlatformError(end.reason, 'capture.disconnected'))
    if (cut?.status === 'rejected') throw cut.reason
  }
}
