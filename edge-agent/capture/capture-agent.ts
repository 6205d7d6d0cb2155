import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { defaultFleecingLimits } from '../platforms/kvm/fleecing-guard.ts'
import { KvmHost, type KvmVm } from '../platforms/kvm/kvm-host.ts'
import { KvmSourceConnector } from '../platforms/kvm/kvm-source-connector.ts'
import { KvmTargetConnector } from '../platforms/kvm/kvm-target-connector.ts'
import { LocalVmHost } from '../platforms/kvm/local-vm-host.ts'
import { findVmProcess } from '../platforms/kvm/vm-process.ts'
import type { Accelerator } from '../qemu/accelerator.ts'
import type { TunnelClientState } from '../tunnel/tunnel-client.ts'
import { askStatus } from './ask-status.ts'
import { controlSocketOf, runDirOf } from './capture-paths.ts'
import type { CaptureStatus } from './capture-protocol.ts'
import { ControlServer } from './control-server.ts'
import { GuestKeepers } from './guest-keepers.ts'
import { OrphanGuard, type OrphanGuardOptions } from './orphan-guard.ts'
import { PortLeases, type SetTarget } from './port-leases.ts'
import { VmCreations } from './vm-creations.ts'

const RECONCILE_TIMEOUT_MS = 60_000

export interface CaptureAgentOptions {
  /** For people. */
  readonly hostName: string
  readonly version: string
  readonly kvm: { readonly rootDir: string; readonly runtimeDir: string }
  readonly stateDir: string
  /** Ports of the tunnel: the first one for requests, the others for services. */
  readonly ports: readonly [number, ...number[]]
  readonly setTarget: SetTarget
  readonly tunnelState: () => TunnelClientState
  readonly logger: Logger
  readonly clock?: Clock
  /** Of VMs that are started here. Probed unless given. */
  readonly accelerator?: Accelerator
  readonly orphans?: Pick<OrphanGuardOptions, 'orphanedAfterMs' | 'checkEveryMs'>
}

/** The capture agent of one KVM host, from here on reachable through the tunnel. */
export interface CaptureAgent extends AsyncDisposable {
  readonly controlSocket: string
  /** Process ids of what holds guests frozen now. */
  keeperPids(): number[]
}

/**
 * Puts in order what a killed one left, then answers the edge agent. Nothing that it holds outlives it.
 * Rejects with `capture.already_running`, `config.invalid` where the state directory's path is too long.
 */
export async function openCaptureAgent(options: CaptureAgentOptions): Promise<CaptureAgent> {
  const { stateDir, kvm, hostName, version, ports, setTarget, logger, clock = systemClock } = options
  const controlSocket = controlSocketOf(stateDir)
  await prepareRunDir(stateDir)
  await using undo = new AsyncDisposableStack()
  const kvmHost = new KvmHost(kvm)
  const keepers = undo.use(new GuestKeepers({ marksDir: join(runDirOf(stateDir), 'frozen'), logger }))
  await keepers.thawMarked(async (vmId) => await findRunning(kvmHost, vmId))

  const host = new LocalVmHost({ host: kvmHost, name: hostName, freezerOf: (vm) => keepers.freezerOf(vm) })
  const [controlPort, ...servicePorts] = ports
  const leases = new PortLeases({ ports: servicePorts, setTarget })
  const connector = undo.use(new KvmSourceConnector({ hosts: () => [host] }))
  const { minFreeBytes } = defaultFleecingLimits
  const accelerated = options.accelerator === undefined ? {} : { accelerator: options.accelerator }
  const target = undo.use(new KvmTargetConnector({ host: kvmHost, ...accelerated }))
  await target.reconcile([], { signal: AbortSignal.timeout(RECONCILE_TIMEOUT_MS) })
  const creations = undo.use(new VmCreations({ target, leases }))
  const guard = undo.use(
    new OrphanGuard({
      host,
      connector,
      clock,
      logger,
      minFreeBytes,
      onOrphaned: async () => await creations.reconcile([], { signal: AbortSignal.timeout(RECONCILE_TIMEOUT_MS) }),
      ...options.orphans,
    }),
  )
  const startedAt = clock.now().toISOString()
  const status = async (): Promise<CaptureStatus> => {
    const vms = await host.listVms({ signal: AbortSignal.timeout(10_000) })
    const { lastError, ...tunnel } = options.tunnelState()
    return {
      version,
      host: hostName,
      startedAt,
      agents: server.agents,
      tunnel: { ...tunnel, ...(lastError === undefined ? {} : { lastError }) },
      vms: { listed: vms.length, running: vms.filter(({ running }) => running).length },
      leases: leases.list(),
    }
  }
  const onAgents = (count: number): void => guard.setAgents(count)
  const server = undo.use(
    await ControlServer.open({
      host,
      leases,
      creations,
      target,
      status,
      path: controlSocket,
      version,
      logger,
      onAgents,
    }),
  )
  await setTarget(controlPort, { path: controlSocket })
  undo.defer(async () => await setTarget(controlPort, undefined))
  const kept = undo.move()
  return {
    controlSocket,
    keeperPids: () => keepers.pids(),
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  }
}

async function prepareRunDir(stateDir: string): Promise<void> {
  const runDir = runDirOf(stateDir)
  await mkdir(runDir, { recursive: true, mode: 0o700 })
  await chmod(runDir, 0o700)
  const running = await askStatus(stateDir, { signal: AbortSignal.timeout(10_000) }).catch((error: unknown) => {
    if (isPlatformError(error, 'capture.not_running')) return undefined
    throw error
  })
  if (running === undefined) return
  throw new PlatformError('capture.already_running', `a capture agent runs with ${stateDir} since ${running.startedAt}`)
}

async function findRunning(host: KvmHost, vmId: string): Promise<KvmVm | undefined> {
  const vm = (await host.list()).find(({ config }) => config.vmId === vmId)
  return vm !== undefined && (await findVmProcess(vm)) !== undefined ? vm : undefined
}
