import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { CaptureHosts } from '@sendense/edge-agent/capture/capture-hosts.ts'
import type { Catalogue } from '@sendense/edge-agent/catalog/catalogue.ts'
import type { JobRecord } from '@sendense/edge-agent/catalog/job-store.ts'
import type { RestorePointRecord } from '@sendense/edge-agent/catalog/restore-point-store.ts'
import type { VmContextRecord } from '@sendense/edge-agent/catalog/vm-context-store.ts'
import {
  createSimulatedAgent,
  createSimulatedSite,
  type SimulatedAgent,
} from '@sendense/edge-agent/commands/simulated-agent.ts'
import { prepareLocalRepository } from '@sendense/edge-agent/jobs/local-repository.ts'
import { KvmHost, type KvmVm } from '@sendense/edge-agent/platforms/kvm/kvm-host.ts'
import { openPlatforms } from '@sendense/edge-agent/platforms/open-platforms.ts'
import { QgaClient } from '@sendense/edge-agent/qemu/qga-client.ts'
import { generateEnrolmentSecret, printEnrolmentToken } from '@sendense/edge-agent/tunnel/enrolment-token.ts'
import { MemoryTunnelGrants } from '@sendense/edge-agent/tunnel/memory-tunnel-grants.ts'
import { TunnelServer } from '@sendense/edge-agent/tunnel/tunnel-server.ts'
import { copyGuestDisks, ensureGuestImage } from '@sendense/infra/guest/guest-image.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { checkoutDir } from '@sendense/infra/stack/stack-paths.ts'
import type { BackupVm as BackupVmCommand } from '@sendense/shared/contracts/agent-command.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import type { z } from 'zod'
import { GuestShell } from './guest-shell.ts'
import { HostNamespace } from './host-namespace.ts'

const EDGE_CLI = path.join(checkoutDir, 'edge-agent/cli/main.ts')
const HOST_NAME = 'kvm1'
const PORTS = [1, 2, 3, 4, 5, 6, 7, 8]
const READY_LINE = 'sendense-guest ready '
const logger = createLogger('test', 'silent')
export const VM_NAME = 'guest'

type BackupVm = z.infer<typeof BackupVmCommand>

export interface CaptureSiteOptions {
  /** How long the edge agent goes on without its KVM host. */
  readonly patienceMs: number
}

/**
 * A KVM host with a real guest and the capture agent as a customer runs it, in a network namespace of its own, and an edge
 * agent of this process that reaches it through the tunnel alone: no directory of the one is known to the other.
 */
export class CaptureSite implements AsyncDisposable {
  readonly network: HostNamespace
  readonly edge: SimulatedAgent
  readonly repositoryId: string
  readonly repositoryDir: string
  readonly tunnel: TunnelServer
  readonly hosts: CaptureHosts
  readonly #parts: Parts
  #capture: ChildProcess | undefined

  private constructor(parts: Parts) {
    this.#parts = parts
    this.network = parts.network
    this.edge = parts.edge
    this.repositoryId = parts.repositoryId
    this.repositoryDir = parts.repositoryDir
    this.tunnel = parts.tunnel
    this.hosts = parts.hosts
  }

  static async open(options: CaptureSiteOptions): Promise<CaptureSite> {
    await using undo = new AsyncDisposableStack()
    const dir = await mkdtemp(path.join(tmpdir(), 'sd-site-'))
    undo.defer(async () => await rm(dir, { recursive: true, force: true }))
    const network = undo.use(await HostNamespace.open())
    const edge = await openEdge(dir, network, { ...options, undo })
    const kvm = new KvmHost({ rootDir: path.join(dir, 'kvm1', 'vms'), runtimeDir: path.join(dir, 'kvm1', 'run') })
    undo.defer(
      async () => void (await network.run(process.execPath, EDGE_CLI, 'kvm', 'stop', '--all', ...placeOf(kvm))),
    )
    const site = new CaptureSite({ ...edge, network, kvm, dir, owned: undo.move() })
    try {
      await Promise.all([site.#startGuest(), site.#enrol()])
      await site.startCapture()
      await site.edge.start()
    } catch (error) {
      await site[Symbol.asyncDispose]()
      throw error
    }
    return site
  }

  /** The guest's own shell, past the product. */
  get guest(): GuestShell {
    return new GuestShell(this.vmPaths.guestAgentSocket)
  }

  get vmPaths(): KvmVm {
    if (this.#parts.vm === undefined) throw new Error('the guest was not made')
    return this.#parts.vm
  }

  /** As the edge agent knows it. */
  async findVmContext(name: string): Promise<VmContextRecord> {
    const vms = await this.#parts.catalogue.transaction(async (tx) => await tx.vms.list(), within(10_000))
    const vm = vms.find((candidate) => candidate.name === name)
    if (vm === undefined) throw new Error(`the edge agent knows no VM ${name}`)
    return vm
  }

  /** Orders a backup of the guest and returns its id; `jobEnded` of the edge agent has its end. */
  async startBackup(more: Partial<BackupVm> = {}): Promise<string> {
    const { vmId } = await this.findVmContext(VM_NAME)
    const jobId = randomUUID()
    const { repositoryId } = this.#parts
    const order = { type: 'backup-vm', jobId, vmId, repositoryId, mode: 'auto', quiesce: true } as const
    await this.edge.order({ ...order, ...more })
    return jobId
  }

  async backUp(more: Partial<BackupVm> = {}): Promise<JobRecord> {
    return await this.edge.jobEnded(await this.startBackup(more))
  }

  /** Restores a point as a new VM that is not started. */
  async restore(restorePointId: string, newVmName: string): Promise<JobRecord> {
    const jobId = randomUUID()
    const { repositoryId } = this.#parts
    await this.edge.order({ type: 'restore-vm', jobId, restorePointId, repositoryId, newVmName, start: false })
    return await this.edge.jobEnded(jobId)
  }

  async restorePoint(restorePointId: string): Promise<RestorePointRecord> {
    const find = this.#parts.catalogue.transaction(
      async (tx) => await tx.restorePoints.find(restorePointId),
      within(10_000),
    )
    const point = await find
    if (point === undefined) throw new Error(`there is no restore point ${restorePointId}`)
    return point
  }

  /** Where the capture agent keeps which guests may be frozen. */
  get marksDir(): string {
    return path.join(this.#stateDir, 'run', 'frozen')
  }

  get captureLog(): string {
    return path.join(this.#parts.dir, 'capture.log')
  }

  async findVm(name: string): Promise<KvmVm> {
    const vm = await this.#parts.kvm.findByName(name)
    if (vm === undefined) throw new Error(`the host has no VM ${name}`)
    return vm
  }

  async startCapture(): Promise<void> {
    const { kvm, network } = this.#parts
    const place = ['--kvm-root', kvm.rootDir, '--kvm-runtime-dir', kvm.runtimeDir, '--state-dir', this.#stateDir]
    const { file, args } = network.command(process.execPath, EDGE_CLI, 'capture', 'run', ...place)
    const log = openSync(this.captureLog, 'a')
    this.#capture = spawn(file, args, { stdio: ['ignore', log, log] })
    await once(this.#capture, 'spawn')
    const isReached = async () => (await this.capture('status')).includes('the edge agent is here')
    await waitUntil('the edge agent to reach the capture agent', isReached, within(60_000))
  }

  /** Whether its file systems are frozen, as its own agent says. */
  async isGuestFrozen(): Promise<boolean> {
    const options = { signal: AbortSignal.timeout(30_000), timeoutMs: 10_000 }
    await using agent = await QgaClient.connect(this.vmPaths.guestAgentSocket, options)
    return await agent.isFrozen(options)
  }

  /** Process ids of the keepers that hold a guest of this host frozen. */
  async keeperPids(): Promise<number[]> {
    const found = []
    for (const pid of (await readdir('/proc')).map(Number).filter(Number.isInteger)) {
      const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      const [, program = '', socket] = commandLine.split('\0')
      if (program.endsWith('/freeze-keeper.ts') && socket === this.vmPaths.guestAgentSocket) found.push(pid)
    }
    return found
  }

  /** As a crash does. Resolves when it is gone. */
  async killCapture(): Promise<void> {
    await this.#endCapture('SIGKILL')
  }

  async capture(...args: string[]): Promise<string> {
    return await this.network.run(process.execPath, EDGE_CLI, 'capture', ...args, '--state-dir', this.#stateDir)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#endCapture('SIGTERM')
    await this.#parts.owned.disposeAsync()
  }

  get #stateDir(): string {
    return path.join(this.#parts.dir, 'cap')
  }

  /** `ip netns exec` becomes the command it runs, so the process is the capture agent itself. */
  async #endCapture(signal: NodeJS.Signals): Promise<void> {
    const capture = this.#capture
    this.#capture = undefined
    if (capture === undefined || capture.exitCode !== null || capture.signalCode !== null) return
    const ended = once(capture, 'exit')
    capture.kill(signal)
    await ended
  }

  async #enrol(): Promise<void> {
    const { network, tunnel, grants } = this.#parts
    const secret = generateEnrolmentSecret()
    const grant = { captureAgentId: this.#parts.captureAgentId, name: HOST_NAME, ports: PORTS }
    grants.addToken(secret, grant)
    const { port, hostKeyFingerprint: hostKey } = tunnel
    const token = printEnrolmentToken({ ...grant, host: network.hereAddress, port, hostKey, secret })
    await this.capture('enrol', '--token', token)
  }

  async #startGuest(): Promise<void> {
    const { dir, kvm, network } = this.#parts
    const options = { signal: AbortSignal.timeout(180_000) }
    const image = await ensureGuestImage(path.join(checkoutDir, '.sendense/cache'), options)
    const staging = path.join(dir, 'kvm1', 'staging')
    await mkdir(staging, { recursive: true })
    const disks = Object.entries(await copyGuestDisks(image, staging))
    const run = async (...args: string[]) => {
      await network.run(process.execPath, EDGE_CLI, 'kvm', ...args, ...placeOf(kvm))
    }
    const shape = ['--name', VM_NAME, '--memory-bytes', String(256 * 1024 * 1024), '--cpus', '1']
    await run('create', ...shape, ...disks.flatMap(([diskId, file]) => ['--disk', `${diskId}=${file}`]))
    await rm(staging, { recursive: true })
    this.#parts.vm = await this.findVm(VM_NAME)
    await run('start', VM_NAME)
    const hasBooted = async () => (await readFile(this.vmPaths.consoleLog, 'utf8')).includes(READY_LINE)
    await waitUntil('the guest to boot', hasBooted, within(180_000))
    await this.guest.restWorkload()
  }
}

interface Edge {
  readonly edge: SimulatedAgent
  readonly catalogue: Catalogue
  readonly repositoryId: string
  readonly repositoryDir: string
  readonly tunnel: TunnelServer
  readonly hosts: CaptureHosts
  readonly grants: MemoryTunnelGrants
  readonly captureAgentId: string
}

interface Parts extends Edge {
  readonly network: HostNamespace
  readonly kvm: KvmHost
  readonly dir: string
  readonly owned: AsyncDisposableStack
  vm?: KvmVm
}

async function openEdge(
  dir: string,
  network: HostNamespace,
  { patienceMs, undo }: CaptureSiteOptions & { readonly undo: AsyncDisposableStack },
): Promise<Edge> {
  const stateDir = path.join(dir, 'edge')
  const repositoryDir = path.join(dir, 'repository')
  await mkdir(stateDir)
  const grants = new MemoryTunnelGrants()
  const tunnel = undo.use(
    await TunnelServer.open({
      port: 0,
      host: network.hereAddress,
      stateDir,
      runtimeDir: stateDir,
      grants,
      clock: systemClock,
      logger,
      onRefused: ({ what }) => console.warn(`refused: ${what}`),
    }),
  )
  const captureAgentId = randomUUID()
  const socketPath = (id: string, port: number) => tunnel.socketPath(id, port)
  const onReachable = () => void edge.order({ type: 'refresh-inventory' }).catch(() => {})
  const hosts = undo.use(new CaptureHosts({ socketPath, patienceMs, onReachable }))
  await hosts.update([{ captureAgentId, name: HOST_NAME, ports: PORTS }])
  const [platform] = openPlatforms({ kvm: undefined, kvmHosts: () => hosts.list() })
  if (platform === undefined) throw new Error('no platform')
  undo.defer(async () => await platform.ground?.[Symbol.asyncDispose]())
  undo.use(platform.source)
  const repository = await prepareLocalRepository({
    stateDir,
    dir: repositoryDir,
    name: 'repository',
    runtimeDir: path.join(dir, 'repo-run'),
    signingKey: generateSigningKey(),
    newId: randomUUID,
    clock: systemClock,
    logger,
  })
  const { catalogue, ...site } = createSimulatedSite()
  const edge = createSimulatedAgent(
    { ...site, catalogue },
    {
      platforms: [platform],
      repository,
      jobTimeoutMs: 120_000,
    },
  )
  undo.defer(async () => await edge.stop())
  const { repositoryId } = repository.record
  return { edge, catalogue, repositoryId, repositoryDir, tunnel, hosts, grants, captureAgentId }
}

function placeOf(kvm: KvmHost): string[] {
  return ['--root', kvm.rootDir, '--runtime-dir', kvm.runtimeDir]
}

export function within(timeoutMs: number): { signal: AbortSignal; timeoutMs: number } {
  return { signal: AbortSignal.timeout(timeoutMs), timeoutMs }
}
