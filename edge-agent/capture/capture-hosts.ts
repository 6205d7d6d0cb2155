import type { VmMonitors } from '../platforms/kvm/vm-monitors.ts'
import type { FarKvmHost } from '../platforms/open-platforms.ts'
import { RemoteTargetConnector } from './remote-target-connector.ts'
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

export interface CaptureHost extends FarKvmHost {
  readonly host: RemoteVmHost
}

/** The KVM hosts behind the tunnels: one for each grant, connected or not. */
export class CaptureHosts implements AsyncDisposable {
  readonly #options: CaptureHostsOptions
  readonly #hosts = new Map<string, CaptureHost & { readonly grant: string }>()

  constructor(options: CaptureHostsOptions) {
    this.#options = options
  }

  /** By name. */
  list(): CaptureHost[] {
    return [...this.#hosts.values()].toSorted((a, b) => (a.host.name < b.host.name ? -1 : 1))
  }

  /** Ways to hosts may be there again: those that are waited for are tried at once. */
  nudge(): void {
    for (const { host } of this.#hosts.values()) host.control.nudge()
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
    let target: RemoteTargetConnector | undefined
    const openTarget = (monitors: VmMonitors) => (target ??= new RemoteTargetConnector({ host, monitors }))
    this.#hosts.set(captureAgentId, { host, openTarget, grant: JSON.stringify(grant) })
  }
}
