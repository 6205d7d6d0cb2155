import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { type DialledQmp, LastingQmp } from '../../qemu/lasting-qmp.ts'
import { QmpClient } from '../../qemu/qmp-client.ts'
import type { QmpConnection } from '../../qemu/qmp-connection.ts'
import { type LocatedVm, platformRefOf } from './vm-host.ts'

const CONNECT_TIMEOUT_MS = 5000

/** A share in the QMP connection of one VM. Disposing the last one closes it. */
export interface MonitorLease extends AsyncDisposable {
  readonly qmp: QmpConnection
}

interface Connection {
  readonly qmp: Promise<DialledQmp>
  /** Gives up connecting. */
  readonly unwanted: AbortController
  leases: number
}

/** QEMU serves one client a monitor at a time: all of this process share one connection a VM. */
export class VmMonitors implements AsyncDisposable {
  readonly #connections = new Map<string, Connection>()

  /**
   * Rejects with `qemu.disconnected`, `qemu.timeout` (another process holds the monitor), as `VmHost.openService`, or
   * with the signal's reason.
   */
  async acquire(vm: LocatedVm, { signal }: CallOptions): Promise<MonitorLease> {
    signal.throwIfAborted()
    const key = platformRefOf(vm)
    const connection = this.#connections.get(key) ?? this.#connect(key, vm)
    connection.leases++
    const release = async (): Promise<void> => {
      connection.leases--
      if (connection.leases === 0) await this.#close(key, connection)
    }
    try {
      const qmp = await untilAborted(connection.qmp, signal)
      return { qmp, [Symbol.asyncDispose]: once(release) }
    } catch (error) {
      await release()
      throw error
    }
  }

  /** Closes all connections, leased ones too. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const [key, connection] of this.#connections) await this.#close(key, connection)
  }

  #connect(key: string, vm: LocatedVm): Connection {
    const unwanted = new AbortController()
    const qmp = openMonitor(vm, { signal: unwanted.signal })
    const connection = { qmp, unwanted, leases: 0 }
    this.#connections.set(key, connection)
    qmp.then(
      (opened) => opened.closed.addEventListener('abort', () => this.#forget(key, connection)),
      () => this.#forget(key, connection),
    )
    return connection
  }

  async #close(key: string, connection: Connection): Promise<void> {
    this.#forget(key, connection)
    connection.unwanted.abort(new Error('nobody waits for this connection any more'))
    const [opened] = await Promise.allSettled([connection.qmp])
    if (opened.status === 'fulfilled') await opened.value[Symbol.asyncDispose]()
  }

  #forget(key: string, connection: Connection): void {
    if (this.#connections.get(key) === connection) this.#connections.delete(key)
  }
}

/** A monitor of this machine is lost at once; one behind a way that may be cut is dialled again. */
async function openMonitor(vm: LocatedVm, { signal }: CallOptions): Promise<DialledQmp> {
  const { patienceMs } = vm.host
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS + patienceMs)])
  if (patienceMs === 0) return await dialMonitor(vm, { signal: deadline })
  const what = `the VM ${vm.config.name} on ${vm.host.name}`
  const dial = async (options: CallOptions) => await dialMonitor(vm, options)
  return await LastingQmp.open({ what, dial, patienceMs, isFinal: isGone }, { signal: deadline })
}

async function dialMonitor({ host, config }: LocatedVm, { signal }: CallOptions): Promise<DialledQmp> {
  await using undo = new AsyncDisposableStack()
  const address = undo.use(await host.openService(config.vmId, 'monitor', { signal }))
  const client = undo.use(await QmpClient.connect(address.path, { signal, timeoutMs: CONNECT_TIMEOUT_MS }))
  const kept = undo.move()
  return {
    closed: client.closed,
    execute: async (command, args, answer, options) => await client.execute(command, args, answer, options),
    subscribe: (listener) => client.subscribe(listener),
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  }
}

function isGone(error: unknown): boolean {
  return isPlatformError(error, 'source.vm_not_running') || isPlatformError(error, 'source.vm_not_found')
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return async () => await (done ??= work())
}
