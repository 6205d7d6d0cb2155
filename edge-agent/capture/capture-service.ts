import type { CallOptions } from '../block/block-source.ts'
import type { HostedVm, VmHost } from '../platforms/kvm/vm-host.ts'
import type { TargetConnector } from '../platforms/target-connector.ts'
import {
  type CaptureMethod,
  type CaptureStatus,
  type ParamsOf,
  type ResultOf,
  VMS_A_PAGE_MAX,
} from './capture-protocol.ts'
import type { PortLeases } from './port-leases.ts'
import type { VmCreations } from './vm-creations.ts'

const SCRATCH_FILES_TOLD_MAX = 256
const CONSOLE_EVERY_MS = 250

/** One connection of the edge agent: what it leases and freezes is its own, and ends with it. */
export interface Caller {
  /** Aborts when the connection is over. */
  readonly over: AbortSignal
  /** Guests that were frozen for it and not thawed since. */
  readonly frozen: Set<string>
}

export interface CaptureServiceParts {
  readonly host: VmHost
  readonly leases: PortLeases
  readonly creations: VmCreations
  /** Of this host alone. */
  readonly target: TargetConnector
  readonly status: () => Promise<CaptureStatus>
}

type TargetMethod =
  | 'create-vm'
  | 'finish-vm'
  | 'discard-vm'
  | 'find-created'
  | 'reconcile-vms'
  | 'start-vm'
  | 'stop-vm'
  | 'delete-vm'

type Handlers = {
  readonly [M in Exclude<CaptureMethod, 'hello'>]: (
    params: ParamsOf<M>,
    call: CallOptions & { readonly caller: Caller; readonly note: (value: unknown) => void },
  ) => Promise<ResultOf<M>>
}

/**
 * What the edge agent can ask of this host, and no more: each request is about one VM under the root of the host it was
 * made with. Handlers reject with the errors of `VmHost`.
 */
export function captureHandlers(parts: CaptureServiceParts): Handlers {
  return { ...sourceHandlers(parts), ...targetHandlers(parts) }
}

function sourceHandlers({ host, leases, status }: CaptureServiceParts): Omit<Handlers, TargetMethod> {
  return {
    'status': async () => await status(),
    'list-vms': async ({ after }, { signal }) => {
      const vms = (await host.listVms({ signal })).filter(({ config }) => after === undefined || config.name > after)
      const sorted = vms.toSorted((a, b) => (a.config.name < b.config.name ? -1 : 1))
      const page = sorted.slice(0, VMS_A_PAGE_MAX)
      const next = sorted.length > page.length ? page.at(-1)?.config.name : undefined
      return { vms: page.map(toView), ...(next === undefined ? {} : { next }) }
    },
    'find-vm': async ({ vmId }, { signal }) => {
      const vm = await host.findVm(vmId, { signal })
      return vm === undefined ? {} : { vm: toView(vm) }
    },
    'read-disk-size': async ({ vmId, diskId }, { signal }) => {
      return { sizeBytes: await host.readDiskSize(vmId, diskId, { signal }) }
    },
    'create-scratch': async ({ vmId, file, sizeBytes }, { signal }) => {
      return { path: await host.createScratch(vmId, { file, sizeBytes }, { signal }) }
    },
    'remove-scratch': async ({ vmId }, { signal }) => {
      await host.removeScratch(vmId, { signal })
      return {}
    },
    'measure-space': async ({ vmId }, { signal }) => ({ ...(await host.measureSpace(vmId, { signal })) }),
    'open-service': async ({ vmId, service, port }, { signal, caller }) => {
      const { path, hostPath } = await host.openService(vmId, service, { signal })
      const wanted = { owner: caller, vmId, service, path, ...(port === undefined ? {} : { port }) }
      const leased = await leases.lease(wanted)
      if (caller.over.aborted) await leases.releaseAll(caller)
      return { port: leased, hostPath }
    },
    'close-service': async ({ port }, { caller }) => {
      await leases.release(caller, port)
      return {}
    },
    'freeze': async ({ vmId, maxMs }, { signal, caller }) => {
      caller.frozen.add(vmId)
      const frozen = await host.freezeGuest(vmId, { maxMs }, { signal })
      if (!frozen) caller.frozen.delete(vmId)
      return { frozen }
    },
    'thaw': async ({ vmId, attemptsMax }, { caller }) => {
      const fileSystems = await host.thawGuest(vmId, attemptsMax === undefined ? {} : { attemptsMax })
      caller.frozen.delete(vmId)
      return { fileSystems }
    },
  }
}

function targetHandlers({ target, creations }: CaptureServiceParts): Pick<Handlers, TargetMethod> {
  return {
    'create-vm': async (wanted, { signal }) => await creations.create(wanted, { signal }),
    'finish-vm': async ({ creationId }, { signal }) => ({ vmId: await creations.finish(creationId, { signal }) }),
    'discard-vm': async ({ creationId }) => {
      await creations.discard(creationId)
      return {}
    },
    'find-created': async ({ creationId }, { signal }) => {
      const vm = await target.findCreated(creationId, { signal })
      return vm === undefined ? {} : { vmId: vm.platformRef }
    },
    'reconcile-vms': async ({ keep }, { signal }) => {
      await creations.reconcile(keep, { signal })
      return {}
    },
    'start-vm': async ({ vmId, timeoutMs }, { signal, note }) => {
      let last: string | undefined
      const tell = (): void => {
        if (last !== undefined) note({ console: last })
        last = undefined
      }
      const timer = setInterval(tell, CONSOLE_EVERY_MS)
      try {
        return await target.startVm(vmId, { signal, timeoutMs, onConsole: (line) => (last = line) })
      } finally {
        clearInterval(timer)
      }
    },
    'stop-vm': async ({ vmId }, { signal }) => {
      await target.stopVm(vmId, { signal })
      return {}
    },
    'delete-vm': async ({ vmId }, { signal }) => {
      await target.deleteVm(vmId, { signal })
      return {}
    },
  }
}

/** The connection is over: nothing that it held stays. */
export async function endCaller(
  { host, leases }: Pick<CaptureServiceParts, 'host' | 'leases'>,
  caller: Caller,
): Promise<void> {
  const thawing = [...caller.frozen].map(async (vmId) => await host.thawGuest(vmId))
  await Promise.allSettled([...thawing, leases.releaseAll(caller)])
}

function toView({ config, running, scratchFiles }: HostedVm) {
  return { config, running, scratchFiles: scratchFiles.slice(0, SCRATCH_FILES_TOLD_MAX) }
}
