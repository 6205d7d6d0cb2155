import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from './block/block-source.ts'
import { CaptureHosts } from './capture/capture-hosts.ts'
import type { OpenTunnel } from './open-tunnel.ts'

export interface OpenCaptureHostsOptions extends CallOptions {
  readonly tunnel: OpenTunnel
  readonly jobsMax: number
  readonly logger: Logger
}

/** The KVM hosts that capture agents speak for, in step with who is let in. */
export interface OpenCaptureHosts extends AsyncDisposable {
  readonly hosts: CaptureHosts
  /** Takes in who was let in or revoked since; rejects when the catalogue cannot be read. */
  refresh(options: CallOptions): Promise<void>
  /** `listener` is called when a host is there, first or again: what is known of its VMs may be old. Returns how to stop it. */
  onReachable(listener: () => void): () => void
}

/** Undefined where capture agents cannot connect at all. */
export async function openCaptureHosts(options: OpenCaptureHostsOptions): Promise<OpenCaptureHosts | undefined> {
  const { tunnel, jobsMax, logger, signal } = options
  const { access, server } = tunnel
  if (server === undefined) return undefined
  const listeners = new Set<() => void>()
  const hosts = new CaptureHosts({
    socketPath: (captureAgentId, port) => server.socketPath(captureAgentId, port),
    onReachable: (name) => {
      logger.info({ host: name }, 'a KVM host is there')
      for (const listener of listeners) listener()
    },
  })
  const refresh = async (call: CallOptions): Promise<void> => {
    const grants = await access.listGrants(call)
    const known = new Set(hosts.list().map(({ host }) => host.hostId))
    for (const { captureAgentId, name, ports } of grants) {
      if (known.has(captureAgentId) || ports.length >= portsFor(jobsMax)) continue
      const wanted = { host: name, ports: ports.length, wanted: portsFor(jobsMax) }
      logger.warn(wanted, 'this KVM host has too few ports for as many jobs as may run at once')
    }
    await hosts.update(grants)
  }
  const stop = server.onChange(() => {
    hosts.nudge()
    // One that connects for the first time was let in since.
    refresh({ signal }).catch((error: unknown) => {
      if (!signal.aborted) logger.error({ err: error }, 'who is let in cannot be read')
    })
  })
  await refresh({ signal })
  return {
    hosts,
    refresh,
    onReachable(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async [Symbol.asyncDispose]() {
      stop()
      await hosts[Symbol.asyncDispose]()
    },
  }
}

/** One for requests, two for each job that backs up, one for a look at another VM. */
function portsFor(jobsMax: number): number {
  return 2 * jobsMax + 2
}
