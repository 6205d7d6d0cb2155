import { rm } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { ManagedProcess, type ProcessSpec, type UnexpectedEnd } from '../processes/managed-process.ts'
import { ProcessLedger } from '../processes/process-ledger.ts'
import { together } from '../processes/together.ts'
import { AgentWatch } from './agent-readiness.ts'
import { prepareBroker } from './broker.ts'
import {
  cloudProcess,
  createEnrolmentToken,
  initialiseKeys,
  migrateDatabase,
  portalUrl,
  seedDemo,
  type DemoSite,
} from './cloud.ts'
import { buildDashboard, dashboardProcess } from './dashboard.ts'
import { startDemoVm, stopVms, type DemoVm } from './demo-vm.ts'
import { edgeAgentProcess, hasEnrolled } from './edge-agent.ts'
import { prepareMariadb } from './mariadb.ts'
import { preparePostgres } from './postgres.ts'
import { lockState } from './stack-lock.ts'
import { checkoutDir, makeStackDirectories, stackPaths, type StackPaths } from './stack-paths.ts'
import { DEMO_OWNER_EMAIL, loadStackSettings, requireFreePorts, type StackSettings } from './stack-settings.ts'

export interface StackOptions {
  /** Holds everything the stack writes. A second start with the same directory goes on with its data. */
  readonly stateDir: string
  /** Downloads and builds that stacks share; absent: the checkout's. */
  readonly cacheDir?: string
  readonly ports: 'fixed' | 'free'
  readonly portalPort?: number
  /** With a site, an agent that protects it, and a running VM; otherwise the portal alone with its owner. */
  readonly demo: boolean
  /** Hears what is being done, a line at a time. */
  readonly log: (line: string) => void
  readonly signal: AbortSignal
}

export type StackProcessName = 'postgres' | 'broker' | 'dashboard' | 'cloud' | 'mariadb' | 'agent'

/** A running product. Disposing it stops everything it started, and only that. */
export interface Stack extends AsyncDisposable {
  readonly portalUrl: string
  readonly ownerEmail: string
  readonly ownerPassword: string
  readonly site: DemoSite
  readonly paths: StackPaths
  readonly settings: StackSettings
  /** Those that run with the chosen options; each can be stopped, killed and started again. */
  readonly processes: Readonly<Partial<Record<StackProcessName, ManagedProcess>>>
  readonly agentId: string | undefined
  readonly vm: DemoVm | undefined
  /** Resolves when a process ended that nobody had asked to. */
  readonly unexpectedEnd: Promise<UnexpectedEnd>
}

const TITLES: Readonly<Record<StackProcessName, string>> = {
  postgres: 'PostgreSQL',
  broker: 'message broker',
  dashboard: 'portal',
  cloud: 'cloud',
  mariadb: "agent's MariaDB",
  agent: 'edge agent',
}
const STOP_VMS_TIMEOUT_MS = 60_000
/** The last first: agents before what they need, databases at the end. */
const STOP_ORDER: readonly StackProcessName[] = ['agent', 'cloud', 'dashboard', 'broker', 'mariadb', 'postgres']

/**
 * Brings the whole product up on this machine and resolves when all of it serves.
 * Rejects with `stack.*` and stops what it had started when a part does not come up by its deadline.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const paths = stackPaths(options.stateDir, options.cacheDir ?? path.join(checkoutDir, '.sendense/cache'))
  await makeStackDirectories(paths)
  await using cleanup = new AsyncDisposableStack()
  cleanup.use(await lockState(paths.stateDir))
  const ledger = new ProcessLedger(paths.ledgerDir)
  const leftovers = await ledger.endLeftovers(options)
  if (leftovers.length > 0) options.log(`ended what an earlier start left behind: ${leftovers.join(', ')}`)

  const settings = await loadStackSettings(paths.stateDir, options.ports, options.portalPort)
  await requireFreePorts(settings)
  const builder = new StackBuilder(options, paths, settings, ledger)
  cleanup.defer(async () => await builder.stopAll())
  const { site, agentId, vm } = await builder.startAll()

  const owned = cleanup.move()
  return {
    portalUrl: portalUrl(settings),
    ownerEmail: DEMO_OWNER_EMAIL,
    ownerPassword: settings.passwords.demoOwner,
    site,
    paths,
    settings,
    processes: builder.processes,
    agentId,
    vm,
    unexpectedEnd: builder.unexpectedEnd,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

class StackBuilder {
  readonly processes: Partial<Record<StackProcessName, ManagedProcess>> = {}
  readonly unexpectedEnd: Promise<UnexpectedEnd>
  readonly #options: StackOptions
  readonly #paths: StackPaths
  readonly #settings: StackSettings
  readonly #ledger: ProcessLedger
  readonly #reportEnd: (end: UnexpectedEnd) => void
  #startedVms = false

  constructor(options: StackOptions, paths: StackPaths, settings: StackSettings, ledger: ProcessLedger) {
    this.#options = options
    this.#paths = paths
    this.#settings = settings
    this.#ledger = ledger
    const { promise, resolve } = Promise.withResolvers<UnexpectedEnd>()
    this.unexpectedEnd = promise
    this.#reportEnd = resolve
  }

  /** What does not need each other comes up at the same time; the agent is last. A part that ends meanwhile ends all. */
  async startAll(): Promise<{ site: DemoSite; agentId: string | undefined; vm: DemoVm | undefined }> {
    const { demo, signal } = this.#options
    const endedEarly = new AbortController()
    void this.unexpectedEnd.then(({ name, reason, logFile }) =>
      endedEarly.abort(new PlatformError('stack.process_ended', `${name} ended: ${reason}; its log is ${logFile}`)),
    )
    return await together(AbortSignal.any([signal, endedEarly.signal]), async (lane) => {
      const controlPlane = lane((own) => this.#startControlPlane(own))
      const database = demo ? lane((own) => this.#startAgentDatabase(own)) : undefined
      const vm = demo ? lane((own) => this.#startVm(own)) : undefined
      const site = await controlPlane
      await database
      const agentId = demo ? await lane((own) => this.#startAgent(site, own)) : undefined
      return { site, agentId, vm: await vm }
    })
  }

  async #startControlPlane(signal: AbortSignal): Promise<DemoSite> {
    return await together(signal, async (lane) => {
      const site = lane((own) => this.#startCloudDatabase(own))
      const broker = lane((own) => this.#startBroker(own))
      const portal = lane((own) => this.#startPortal(own))
      await Promise.all([site, broker, portal])
      await this.#start('cloud', cloudProcess(this.#paths, this.#settings), signal)
      return await site
    })
  }

  async #startCloudDatabase(signal: AbortSignal): Promise<DemoSite> {
    const { ports, passwords } = this.#settings
    const inputs = { paths: this.#paths, port: ports.postgres, ownerPassword: passwords.databaseOwner }
    await this.#start('postgres', await preparePostgres(inputs, { signal }), signal)
    await migrateDatabase(this.#settings, { signal })
    return await seedDemo(this.#settings, { signal })
  }

  async #startBroker(signal: AbortSignal): Promise<void> {
    await initialiseKeys(this.#paths, { signal })
    await this.#start('broker', await prepareBroker(this.#paths, this.#settings.ports.broker), signal)
  }

  async #startPortal(signal: AbortSignal): Promise<void> {
    await buildDashboard({ cacheDir: this.#paths.cacheDir, signal, log: this.#options.log })
    await this.#start('dashboard', dashboardProcess(this.#paths, this.#settings.ports.dashboard), signal)
  }

  async #startAgentDatabase(signal: AbortSignal): Promise<void> {
    await this.#start('mariadb', await prepareMariadb(this.#paths, { signal }), signal)
  }

  async #startVm(signal: AbortSignal): Promise<DemoVm> {
    this.#startedVms = true
    const vm = await startDemoVm(this.#paths, { signal, log: this.#options.log })
    this.#options.log(`virtual machine ${vm.name} runs`)
    return vm
  }

  /** Resolves with the agent's id once the cloud says that it is online. */
  async #startAgent(site: DemoSite, signal: AbortSignal): Promise<string> {
    const enrolmentToken = (await hasEnrolled(this.#paths))
      ? undefined
      : await createEnrolmentToken(this.#settings, site.siteId, { signal })
    const watch = new AgentWatch(this.#settings)
    const since = new Date()
    const ready = async (probe: AbortSignal): Promise<boolean> => await watch.isOnline(since, probe)
    const inputs = { paths: this.#paths, cloudUrl: portalUrl(this.#settings), enrolmentToken, ready }
    await this.#start('agent', edgeAgentProcess(inputs), signal)
    if (watch.agentId === undefined) throw new TypeError('a ready agent has an id')
    return watch.agentId
  }

  async stopAll(): Promise<void> {
    const signal = AbortSignal.timeout(STOP_VMS_TIMEOUT_MS)
    await this.processes.agent?.stop()
    if (this.#startedVms) {
      await stopVms(this.#paths, { signal }).catch((error: unknown) => {
        this.#options.log(`cannot stop the virtual machines: ${error instanceof Error ? error.message : String(error)}`)
      })
    }
    for (const name of STOP_ORDER) await this.processes[name]?.stop()
    await rm(this.#paths.runtimeDir, { recursive: true, force: true }) // sockets that nobody listens on any more
  }

  async #start(name: StackProcessName, spec: ProcessSpec, signal: AbortSignal): Promise<void> {
    const process = new ManagedProcess(spec, this.#ledger, this.#reportEnd)
    this.processes[name] = process
    await process.start({ signal })
    this.#options.log(`${TITLES[name]} runs`)
  }
}
