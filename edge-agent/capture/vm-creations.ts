import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { NewVm, NewVmRequest, TargetConnector } from '../platforms/target-connector.ts'
import type { ParamsOf, ResultOf } from './capture-protocol.ts'
import type { PortLeases } from './port-leases.ts'

export interface VmCreationsParts {
  /** Of this host alone. */
  readonly target: TargetConnector
  readonly leases: PortLeases
}

interface Creation {
  readonly creationId: string
  readonly vm: NewVm
  readonly port: number
}

/**
 * VMs in the making for the edge agent: their disks are written through a port of the tunnel. They outlive the connection
 * that asked for them, because a long copy must; the edge agent's next `reconcile` or its long absence ends them.
 */
export class VmCreations implements AsyncDisposable {
  readonly #parts: VmCreationsParts
  readonly #open = new Map<string, Creation>()

  constructor(parts: VmCreationsParts) {
    this.#parts = parts
  }

  /** Begins anew where that creation has begun already: whoever asked for it did not get the answer. */
  async create(wanted: ParamsOf<'create-vm'>, { signal }: CallOptions): Promise<ResultOf<'create-vm'>> {
    const { target, leases } = this.#parts
    await this.discard(wanted.creationId)
    const request: NewVmRequest = { ...wanted, definition: {} }
    await using undo = new AsyncDisposableStack()
    const vm = undo.use(await target.createVm(request, { signal }))
    const exports = [...vm.disks].map(([diskId, { endpoint }]) => ({ diskId, ...expectUnix(endpoint) }))
    const [first] = exports
    if (first === undefined) throw new PlatformError('input.invalid', 'a VM has at least one disk')
    const { creationId } = wanted
    const lease = { owner: vm, vmId: creationId, service: 'nbd', path: first.path } as const
    const port = await leases.lease(lease)
    undo.defer(async () => await leases.releaseAll(vm))
    signal.throwIfAborted()
    this.#open.set(creationId, { creationId, vm, port })
    undo.move()
    return { port, exports: exports.map(({ diskId, exportName }) => ({ diskId, exportName })) }
  }

  /** The finished VM's id; of one that was finished before too. Rejects with `target.create_failed` where there is neither. */
  async finish(creationId: string, options: CallOptions): Promise<string> {
    const creation = this.#open.get(creationId)
    if (creation === undefined) {
      const vm = await this.#parts.target.findCreated(creationId, options)
      if (vm !== undefined) return vm.platformRef
      throw new PlatformError('target.create_failed', `the VM of creation ${creationId} is not in the making any more`)
    }
    const vmId = await creation.vm.finish(options)
    await this.discard(creationId)
    return vmId
  }

  /** Removes what is not finished. Does nothing where there is none. */
  async discard(creationId: string): Promise<void> {
    const creation = this.#open.get(creationId)
    if (creation === undefined) return
    this.#open.delete(creationId)
    await this.#parts.leases.releaseAll(creation.vm)
    await creation.vm[Symbol.asyncDispose]()
  }

  /** Removes all that is not finished and not in `keep`, what dead processes left too. */
  async reconcile(keep: readonly string[], options: CallOptions): Promise<void> {
    for (const creationId of this.#open.keys()) if (!keep.includes(creationId)) await this.discard(creationId)
    await this.#parts.target.reconcile(keep, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const creationId of this.#open.keys()) await this.discard(creationId)
  }
}

function expectUnix(endpoint: NewVmEndpoint): { readonly path: string; readonly exportName: string } {
  if (endpoint?.kind === 'nbd' && endpoint.address.transport === 'unix') {
    return { path: endpoint.address.path, exportName: endpoint.exportName }
  }
  throw new PlatformError('internal.unexpected', 'a disk in the making is not served on a unix socket')
}

type NewVmEndpoint = NonNullable<ReturnType<NewVm['disks']['get']>>['endpoint']
