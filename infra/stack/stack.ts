import path from 'node:path'
import { ManagedProcess, type ProcessSpec, type UnexpectedEnd } from '../processes/managed-process.ts'
import { ProcessLedger } from '../processes/process-ledger.ts'
import { waitForAgent } from './agent-readiness.ts'
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
  const site = await builder.startControlPlane()
  const agentId = options.demo ? await builder.startAgent(site) : undefined
  const vm = options.demo ? await builder.startVm() : undefined

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

  async startControlPlane(): Promise<DemoSite> {
    const { signal, log } = this.#options
    const { ports, passwords } = this.#settings
    const postgres = { paths: this.#paths, port: ports.postgres, ownerPassword: passwords.databaseOwner }
    log('PostgreSQL')
    await this.#start('postgres', await preparePostgres(postgres, { signal }))
    log('keys, database schema, demo MSP')
    await initialiseKeys(this.#paths, { signal })
    await migrateDatabase(this.#settings, { signal })
    const site = await seedDemo(this.#settings, { signal })
    log('message broker')
    await this.#start('broker', await prepareBroker(this.#paths, ports.broker))
    await buildDashboard({ signal, log })
    log('portal')
    await this.#start('dashboard', dashboardProcess(this.#paths, ports.dashboard))
    log('cloud')
    await this.#start('cloud', cloudProcess(this.#paths, this.#settings))
    return site
  }

  /** Returns the agent's id once the cloud says that it is online. */
  async startAgent(site: DemoSite): Promise<string> {
    const { signal, log } = this.#options
    log("agent's MariaDB")
    await this.#start('mariadb', await prepareMariadb(this.#paths, { signal }))
    const enrolmentToken = (await hasEnrolled(this.#paths))
      ? undefined
      : await createEnrolmentToken(this.#settings, site.siteId, { signal })
    log('edge agent')
    const inputs = { paths: this.#paths, cloudUrl: portalUrl(this.#settings), enrolmentToken }
    await this.#start('agent', edgeAgentProcess(inputs))
    return await waitForAgent(this.#settings, { signal })
  }

  async startVm(): Promise<DemoVm> {
    this.#options.log('demo virtual machine')
    this.#startedVms = true
    return await startDemoVm(this.#paths, this.#options)
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
  }

  async #start(name: StackProcessName, spec: ProcessSpec): Promise<void> {
    const process = new ManagedProcess(spec, this.#ledger, this.#reportEnd)
    this.processes[name] = process
    await process.start(this.#options)
  }
}
