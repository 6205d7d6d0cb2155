import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { QmpClient } from '../../qemu/qmp-client.ts'
import type { KvmVm } from './kvm-host.ts'

const CONNECT_TIMEOUT_MS = 5000

/** A share in the QMP connection of one VM. Disposing the last one closes it. */
export interface MonitorLease extends AsyncDisposable {
  readonly qmp: QmpClient
}

interface Connection {
  readonly client: Promise<QmpClient>
  leases: number
}

/** QEMU serves one client a monitor at a time: all of this process share one connection a VM. */
export class VmMonitors implements AsyncDisposable {
  readonly #connections = new Map<string, Connection>()

  /** Rejects with `qemu.disconnected`, `qemu.timeout` (another process holds the monitor), or the signal's reason. */
  async acquire(vm: KvmVm, { signal }: CallOptions): Promise<MonitorLease> {
    signal.throwIfAborted()
    const key = vm.qmpSocket
    const connection = this.#connections.get(key) ?? this.#connect(key)
    connection.leases++
    const release = async (): Promise<void> => {
      connection.leases--
      if (connection.leases === 0) await this.#close(key, connection)
    }
    try {
      const qmp = await untilAborted(connection.client, signal)
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

  #connect(key: string): Connection {
    const deadline = { signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS), timeoutMs: CONNECT_TIMEOUT_MS }
    const client = QmpClient.connect(key, deadline)
    const connection = { client, leases: 0 }
    this.#connections.set(key, connection)
    client.then(
      (qmp) => qmp.closed.addEventListener('abort', () => this.#forget(key, connection)),
      () => this.#forget(key, connection),
    )
    return connection
  }

  async #close(key: string, connection: Connection): Promise<void> {
    this.#forget(key, connection)
    const [client] = await Promise.allSettled([connection.client])
    if (client.status === 'fulfilled') await client.value[Symbol.asyncDispose]()
  }

  #forget(key: string, connection: Connection): void {
    if (this.#connections.get(key) === connection) this.#connections.delete(key)
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return async () => await (done ??= work())
}
