import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { CaptureHosts } from '@sendense/edge-agent/capture/capture-hosts.ts'
import type { Catalogue, CatalogueTransaction } from '@sendense/edge-agent/catalog/catalogue.ts'
import type { JobRecord } from '@sendense/edge-agent/catalog/job-store.ts'
import type { RestorePointRecord } from '@sendense/edge-agent/catalog/restore-point-store.ts'
import type { VmContextRecord } from '@sendense/edge-agent/catalog/vm-context-store.ts'
import {
  createSimulatedAgent,
  createSimulatedSite,
  type SimulatedAgent,
} from '@sendense/edge-agent/commands/simulated-agent.ts'
import { prepareLocalRepository } from '@sendense/edge-agent/jobs/local-repository.ts'
import type { KvmVm } from '@sendense/edge-agent/platforms/kvm/kvm-host.ts'
import { openPlatforms } from '@sendense/edge-agent/platforms/open-platforms.ts'
import { generateEnrolmentSecret, printEnrolmentToken } from '@sendense/edge-agent/tunnel/enrolment-token.ts'
import { MemoryTunnelGrants } from '@sendense/edge-agent/tunnel/memory-tunnel-grants.ts'
import { TunnelServer } from '@sendense/edge-agent/tunnel/tunnel-server.ts'
import { copyGuestDisks, ensureGuestImage } from '@sendense/infra/guest/guest-image.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { checkoutDir } from '@sendense/infra/stack/stack-paths.ts'
import type { BackupVm } from '@sendense/shared/contracts/agent-command.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import type { z } from 'zod'
import { CaptureMachine, within } from './capture-machine.ts'
import { GuestShell } from './guest-shell.ts'

const HOST_NAME = 'kvm1'
const PORTS = [1, 2, 3, 4, 5, 6, 7, 8]
const READY_LINE = 'sendense-guest ready '
const logger = createLogger('test', 'silent')
export const VM_NAME = 'guest'

/**
 * A KVM host with a real guest in a network namespace of its own, and an edge agent of this process that reaches it
 * through the tunnel alone: no directory of the one is known to the other.
 */
export class CaptureSite implements AsyncDisposable {
  readonly machine: CaptureMachine
  readonly vm: KvmVm
  readonly edge: SimulatedAgent
  readonly tunnel: TunnelServer
  readonly captureAgentId: string
  readonly repositoryDir: string
  /** How long the edge agent goes on without its KVM host from now on; no backup may be under way. */
  readonly setPatience: (patienceMs: number) => Promise<void>
  readonly #catalogue: Catalogue
  readonly #repositoryId: string
  readonly #owned: AsyncDisposableStack

  private constructor(machine: CaptureMachine, vm: KvmVm, edge: Edge, owned: AsyncDisposableStack) {
    this.machine = machine
    this.vm = vm
    this.edge = edge.agent
    this.setPatience = edge.setPatience
    this.tunnel = edge.tunnel
    this.captureAgentId = edge.captureAgentId
    this.repositoryDir = edge.repositoryDir
    this.#catalogue = edge.catalogue
    this.#repositoryId = edge.repositoryId
    this.#owned = owned
  }

  static async open(): Promise<CaptureSite> {
    await using undo = new AsyncDisposableStack()
    const dir = await mkdtemp(path.join(tmpdir(), 'sd-edge-'))
    undo.defer(async () => await rm(dir, { recursive: true, force: true }))
    const machine = undo.use(await CaptureMachine.open())
    const edge = await openEdge(dir, machine.network.hereAddress, { undo })
    const [vm] = await Promise.all([startGuest(machine, path.join(dir, 'staging')), enrol(machine, edge)])
    await machine.startCapture()
    await edge.agent.start()
    return new CaptureSite(machine, vm, edge, undo.move())
  }

  /** The guest's own shell, past the product. */
  get guest(): GuestShell {
    return new GuestShell(this.vm.guestAgentSocket)
  }

  /** As the edge agent knows it. */
  async findVmContext(name: string): Promise<VmContextRecord> {
    const vm = (await this.#query(async (tx) => await tx.vms.list())).find((candidate) => candidate.name === name)
    if (vm === undefined) throw new Error(`the edge agent knows no VM ${name}`)
    return vm
  }

  /** Orders a backup of the guest and returns its id; `jobEnded` of the edge agent has its end. */
  async startBackup(more: Partial<z.infer<typeof BackupVm>> = {}): Promise<string> {
    const { vmId } = await this.findVmContext(VM_NAME)
    const jobId = randomUUID()
    const order = { type: 'backup-vm', jobId, vmId, mode: 'auto', quiesce: true } as const
    await this.edge.order({ ...order, repositoryId: this.#repositoryId, ...more })
    return jobId
  }

  async backUp(more: Partial<z.infer<typeof BackupVm>> = {}): Promise<JobRecord> {
    return await this.edge.jobEnded(await this.startBackup(more))
  }

  /** Restores a point as a new VM that is not started. */
  async restore(restorePointId: string, newVmName: string): Promise<JobRecord> {
    const jobId = randomUUID()
    const order = { type: 'restore-vm', jobId, restorePointId, newVmName, start: false } as const
    await this.edge.order({ ...order, repositoryId: this.#repositoryId })
    return await this.edge.jobEnded(jobId)
  }

  async jobState(jobId: string): Promise<string | undefined> {
    return (await this.#query(async (tx) => await tx.jobs.find(jobId)))?.state
  }

  async restorePoint(restorePointId: string): Promise<RestorePointRecord> {
    const point = await this.#query(async (tx) => await tx.restorePoints.find(restorePointId))
    if (point === undefined) throw new Error(`there is no restore point ${restorePointId}`)
    return point
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync()
  }

  async #query<T>(work: (tx: CatalogueTransaction) => Promise<T>): Promise<T> {
    return await this.#catalogue.transaction(work, within(10_000))
  }
}

async function enrol(machine: CaptureMachine, { grants, tunnel, captureAgentId }: Edge): Promise<void> {
  const secret = generateEnrolmentSecret()
  const grant = { captureAgentId, name: HOST_NAME, ports: PORTS }
  grants.addToken(secret, grant)
  const { port, hostKeyFingerprint: hostKey } = tunnel
  const token = printEnrolmentToken({ ...grant, host: machine.network.hereAddress, port, hostKey, secret })
  await machine.capture('enrol', '--token', token)
}

async function startGuest(machine: CaptureMachine, staging: string): Promise<KvmVm> {
  const image = await ensureGuestImage(path.join(checkoutDir, '.sendense/cache'), within(180_000))
  await mkdir(staging)
  const disks = Object.entries(await copyGuestDisks(image, staging))
  const shape = ['--name', VM_NAME, '--memory-bytes', String(256 * 1024 * 1024), '--cpus', '1']
  await machine.kvm('create', ...shape, ...disks.flatMap(([diskId, file]) => ['--disk', `${diskId}=${file}`]))
  await rm(staging, { recursive: true })
  await machine.kvm('start', VM_NAME)
  const vm = await machine.findVm(VM_NAME)
  const hasBooted = async () => (await readFile(vm.consoleLog, 'utf8')).includes(READY_LINE)
  await waitUntil('the guest to boot', hasBooted, within(180_000))
  await new GuestShell(vm.guestAgentSocket).restWorkload()
  return vm
}

interface Edge {
  readonly agent: SimulatedAgent
  readonly setPatience: (patienceMs: number) => Promise<void>
  readonly catalogue: Catalogue
  readonly repositoryId: string
  readonly repositoryDir: string
  readonly tunnel: TunnelServer
  readonly grants: MemoryTunnelGrants
  readonly captureAgentId: string
}

function tell({ what }: { readonly what: string }): void {
  console.warn(`refused at the tunnel: ${what}`)
}

async function openEdge(dir: string, host: string, { undo }: { readonly undo: AsyncDisposableStack }): Promise<Edge> {
  const grants = new MemoryTunnelGrants()
  const place = { stateDir: dir, runtimeDir: dir, clock: systemClock, logger }
  const tunnel = undo.use(await TunnelServer.open({ ...place, port: 0, host, grants, onRefused: tell }))
  const captureAgentId = randomUUID()
  const reach = async (more: { readonly patienceMs?: number } = {}): Promise<CaptureHosts> => {
    const made = new CaptureHosts({
      socketPath: (id, port) => tunnel.socketPath(id, port),
      onReachable: () => void agent.order({ type: 'refresh-inventory' }).catch(() => {}),
      ...more,
    })
    await made.update([{ captureAgentId, name: HOST_NAME, ports: PORTS }])
    return made
  }
  let hosts = await reach()
  tunnel.onChange(() => hosts.nudge())
  undo.defer(async () => await hosts[Symbol.asyncDispose]())
  const setPatience = async (patienceMs: number): Promise<void> => {
    const before = hosts
    hosts = await reach({ patienceMs })
    await before[Symbol.asyncDispose]()
  }
  const [platform] = openPlatforms({ kvm: undefined, kvmHosts: () => hosts.list() })
  if (platform === undefined) throw new Error('no platform')
  undo.defer(async () => await platform.ground?.[Symbol.asyncDispose]())
  undo.use(platform.source)
  const repositoryDir = path.join(dir, 'repository')
  const keys = { signingKey: generateSigningKey(), newId: randomUUID }
  const repository = await prepareLocalRepository({ ...place, ...keys, dir: repositoryDir, name: 'repository' })
  const { catalogue, ...memory } = createSimulatedSite()
  const parts = { platforms: [platform], repository, jobTimeoutMs: 120_000 }
  const agent = createSimulatedAgent({ ...memory, catalogue }, parts)
  undo.defer(async () => await agent.stop())
  const { repositoryId } = repository.record
  return { agent, setPatience, catalogue, repositoryId, repositoryDir, tunnel, grants, captureAgentId }
}
