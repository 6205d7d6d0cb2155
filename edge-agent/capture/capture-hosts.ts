import { RemoteVmHost } from './remote-vm-host.ts'

/** A capture agent that this edge agent has let in, as its grant says. */
export interface CaptureHostGrant {
  readonly captureAgentId: string
  readonly name: string
  readonly ports: readonly number[]
}

export interface CaptureHostsOptions {
  /** `TunnelServer.socketPath`. */
  readonly socketPath: (captureAgentId: string, port: number) => string
  readonly patienceMs?: number
  /** Called when a host is there, first or again. */
  readonly onReachable?: (name: string) => void
}

/** The KVM hosts behind the tunnels: one for each grant, connected or not. */
export class CaptureHosts implements AsyncDisposable {
  readonly #options: CaptureHostsOptions
  readonly #hosts = new Map<string, { readonly host: RemoteVmHost; readonly grant: string }>()

  constructor(options: CaptureHostsOptions) {
    this.#options = options
  }

  list(): RemoteVmHost[] {
    return [...this.#hosts.values()].map(({ host }) => host)
  }

  /** Takes these for all the grants that there are; a host whose grant is gone or changed is let go of. */
  async update(grants: readonly CaptureHostGrant[]): Promise<void> {
    const wanted = new Map(grants.map((grant) => [grant.captureAgentId, grant]))
    const gone = [...this.#hosts].filter(([id, { grant }]) => JSON.stringify(wanted.get(id)) !== grant)
    for (const [id] of gone) this.#hosts.delete(id)
    for (const grant of grants) if (!this.#hosts.has(grant.captureAgentId)) this.#add(grant)
    await Promise.all(gone.map(async ([, { host }]) => await host[Symbol.asyncDispose]()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.update([])
  }

  #add(grant: CaptureHostGrant): void {
    const { socketPath, patienceMs, onReachable } = this.#options
    const { captureAgentId, name, ports } = grant
    const [control, ...services] = ports.toSorted((a, b) => a - b)
    if (control === undefined) return
    const host = new RemoteVmHost({
      captureAgentId,
      name,
      ports: [control, ...services],
      socketPath: (port) => socketPath(captureAgentId, port),
      ...(patienceMs === undefined ? {} : { patienceMs }),
      ...(onReachable === undefined ? {} : { onReachable: () => onReachable(name) }),
    })
    this.#hosts.set(captureAgentId, { host, grant: JSON.stringify(grant) })
  }
}
