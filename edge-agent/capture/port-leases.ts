import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { VmService } from '../platforms/kvm/vm-host.ts'
import type { LocalTarget } from '../tunnel/tunnel-client.ts'

/** Ports of the tunnel that may be pointed at services of this machine; `TunnelClient.setTarget`. */
export type SetTarget = (port: number, target: LocalTarget | undefined) => Promise<void>

export interface PortLease {
  readonly port: number
  readonly vmId: string
  readonly service: VmService
}

interface HeldLease extends PortLease {
  owner: object
  /** Settles when the port is free again. */
  releasing?: Promise<void>
}

/**
 * Which port of the tunnel leads to which service of which VM. A port leads nowhere until it is leased, and from the
 * moment that its lease is released or its owner is gone; connections that stand are left alone.
 */
export class PortLeases {
  readonly #free: number[]
  readonly #held = new Map<number, HeldLease>()
  readonly #setTarget: SetTarget

  constructor(options: { readonly ports: readonly number[]; readonly setTarget: SetTarget }) {
    this.#free = [...options.ports]
    this.#setTarget = options.setTarget
  }

  list(): PortLease[] {
    return [...this.#held.values()]
      .map(({ port, vmId, service }) => ({ port, vmId, service }))
      .toSorted((a, b) => a.port - b.port)
  }

  /**
   * Points a free port, or the wanted one, at a unix socket and returns it. A wanted port that leads to the same
   * service already changes its owner: the one before has lost its connection, though it was not seen yet.
   * Rejects with `capture.ports_exhausted` when none is free, or the wanted one is not.
   */
  async lease(
    wanted: Omit<PortLease, 'port'> & { readonly owner: object; readonly path: string; readonly port?: number },
  ): Promise<number> {
    const { owner, vmId, service, path } = wanted
    if (wanted.port !== undefined) await this.#held.get(wanted.port)?.releasing
    const before = wanted.port === undefined ? undefined : this.#held.get(wanted.port)
    if (before?.vmId === vmId && before.service === service) {
      before.owner = owner
      await this.#setTarget(before.port, { path })
      return before.port
    }
    const port = this.#take(wanted.port)
    this.#held.set(port, { port, vmId, service, owner })
    try {
      await this.#setTarget(port, { path })
    } catch (error) {
      await this.#release(port)
      throw error
    }
    return port
  }

  /** Does nothing where the port is not the owner's. */
  async release(owner: object, port: number): Promise<void> {
    if (this.#held.get(port)?.owner === owner) await this.#release(port)
  }

  async releaseAll(owner: object): Promise<void> {
    const ports = [...this.#held.values()].filter((lease) => lease.owner === owner).map(({ port }) => port)
    await Promise.all(ports.map(async (port) => await this.#release(port)))
  }

  #take(wanted: number | undefined): number {
    const index = wanted === undefined ? 0 : this.#free.indexOf(wanted)
    const [port] = index < 0 ? [] : this.#free.splice(index, 1)
    if (port !== undefined) return port
    const text = wanted === undefined ? 'all ports of the tunnel are in use' : `port ${wanted} of the tunnel is in use`
    throw new PlatformError('capture.ports_exhausted', text, { details: { ports: this.#held.size } })
  }

  /** Free for others only when it leads nowhere. One that cannot be turned off is never used again. */
  async #release(port: number): Promise<void> {
    const lease = this.#held.get(port)
    if (lease === undefined) return
    lease.owner = {}
    lease.releasing ??= this.#turnOff(port)
    await lease.releasing
  }

  async #turnOff(port: number): Promise<void> {
    await this.#setTarget(port, undefined)
    this.#held.delete(port)
    this.#free.push(port)
  }
}
