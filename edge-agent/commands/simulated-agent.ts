import { randomUUID } from 'node:crypto'
import type { AgentCommand } from '@sendense/shared/contracts/agent-command.ts'
import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { createBackupRunner } from '../backup/backup-flow.ts'
import type { BackupStep } from '../backup/backup-steps.ts'
import type { JobRecord } from '../catalog/job-store.ts'
import { createMemoryCatalogue, type MemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { JobEngine } from '../jobs/job-engine.ts'
import type { ProgressSink } from '../jobs/job-runner.ts'
import { type Platform, PlatformRegistry } from '../jobs/platform-registry.ts'
import { type RepositoryEntry, RepositoryRegistry } from '../jobs/repository-registry.ts'
import { VmInventory } from '../jobs/vm-inventory.ts'
import { createMover } from '../mover/create-mover.ts'
import { MemoryHypervisor } from '../platforms/memory/memory-hypervisor.ts'
import { MemorySourceConnector } from '../platforms/memory/memory-source-connector.ts'
import { MemoryTargetConnector } from '../platforms/memory/memory-target-connector.ts'
import {
  createMemoryRepositoryStore,
  type MemoryRepositoryStore,
  openMemoryRepository,
} from '../repository/memory/memory-repository.ts'
import type { Repository } from '../repository/repository.ts'
import { createRestoreRunner, type RestoreStep } from '../restore/restore-flow.ts'
import { createVerifyRunner } from '../restore/verify-flow.ts'
import { CommandDispatcher } from './command-dispatcher.ts'

const JOB_TIMEOUT_MS = 15_000
const logger = createLogger('test', 'silent')

/** What outlives the agent's process: the hypervisor, the repository's storage, the database. */
export interface SimulatedSite {
  readonly hypervisor: MemoryHypervisor
  readonly storage: MemoryRepositoryStore
  readonly catalogue: MemoryCatalogue
}

export function createSimulatedSite(): SimulatedSite {
  return {
    hypervisor: new MemoryHypervisor(),
    storage: createMemoryRepositoryStore({ chunkSizeBytes: 65_536 }),
    catalogue: createMemoryCatalogue(),
  }
}

export interface SimulatedAgentOptions {
  /** In place of the site's hypervisor; stay the caller's to dispose. */
  readonly platforms?: readonly Platform[]
  /** In place of the site's storage. */
  readonly repository?: RepositoryEntry
  /** Every step of a flow; a promise that never settles is a process that was killed there. */
  readonly onStep?: (step: BackupStep | RestoreStep) => Promise<void>
  readonly openRepository?: (storage: MemoryRepositoryStore) => Promise<Repository>
  readonly boots?: () => boolean
  readonly clock?: Clock
  readonly progress?: ProgressSink
  /** How long the end of a job is waited for; 15 s unless given. */
  readonly jobTimeoutMs?: number
}

/** One process of the agent, without its link: commands are put into its inbox, events read from its outbox. */
export interface SimulatedAgent {
  readonly jobs: JobEngine
  /** Recovers, then works. Resolves when recovery is done. */
  start(): Promise<void>
  /** Takes a command in as the link does, and resolves when it was handled. Returns its id. */
  order(command: AgentCommand): Promise<string>
  jobEnded(jobId: string): Promise<JobRecord>
  events(): Promise<AgentEvent[]>
  stop(): Promise<void>
}

export function createSimulatedAgent(site: SimulatedSite, options: SimulatedAgentOptions = {}): SimulatedAgent {
  const { catalogue, hypervisor, storage } = site
  const clock = options.clock ?? systemClock
  const lifetime = new AbortController()
  const { signal } = lifetime
  const boots = options.boots ?? (() => true)
  const inMemory: Platform = {
    kind: 'kvm',
    source: new MemorySourceConnector(hypervisor, { clock }),
    target: new MemoryTargetConnector(hypervisor, { boots }),
  }
  const platforms = new PlatformRegistry(options.platforms ?? [inMemory])
  const record = { repositoryId: storage.repositoryId, name: 'local', kind: 'qcow2-chain', location: 'memory' } as const
  const openRepository = options.openRepository ?? (async () => openMemoryRepository(storage, { clock }))
  const stored = options.repository ?? { record, open: async () => await openRepository(storage) }
  const repositories = new RepositoryRegistry([stored], { clock, logger })
  const who = { hostname: 'host', agentVersion: '0.1.0' }
  const inventory = new VmInventory({ catalogue, platforms, repositories, clock, logger, newId: randomUUID, ...who })
  const mover = createMover({ threadsMax: 1 })
  const steps = options.onStep === undefined ? {} : { onStep: options.onStep }
  const ids = { newId: randomUUID, agentId: randomUUID(), tenantId: randomUUID() }
  const flows = { catalogue, platforms, repositories, inventory, mover, clock, logger, ...ids, ...steps }
  const ended = new Map<string, JobRecord>()
  const fatal: unknown[] = []
  const jobs = new JobEngine({
    catalogue,
    runners: {
      'backup-vm': createBackupRunner(flows),
      'restore-vm': createRestoreRunner(flows),
      'verify-restore-point': createVerifyRunner(flows),
    },
    progress: options.progress ?? { report: () => undefined },
    clock,
    logger,
    runningMax: 2,
    onFatal: (error) => fatal.push(error),
    onJobEnded: (job) => ended.set(job.jobId, job),
  })
  const dispatcher = new CommandDispatcher({ catalogue, jobs, inventory, repositories, clock, logger })
  return {
    jobs,
    async start() {
      await catalogue.transaction(async (tx) => await tx.repositories.put(stored.record), { signal })
      await inventory.refresh({ signal, force: true })
      await jobs.start()
    },
    async order(command) {
      const commandId = randomUUID()
      await catalogue.transaction(
        async (tx) => {
          const sequence = (await tx.inbox.lastSequence()) + 1
          const at = clock.now().toISOString()
          const times = { issuedAt: at, notBefore: at, expiresAt: at }
          const head = { kind: 'command', version: 1, commandId, sequence, class: 'operate', ...times } as const
          const payload = { ...head, agentId: ids.agentId, tenantId: ids.tenantId, command }
          await tx.inbox.insert({ payload, state: 'received', receivedAt: clock.now() })
        },
        { signal },
      )
      await dispatcher.runWaiting({ signal })
      return commandId
    },
    async jobEnded(jobId) {
      const deadline = Date.now() + (options.jobTimeoutMs ?? JOB_TIMEOUT_MS)
      for (;;) {
        const job = ended.get(jobId) ?? (await findEnded(catalogue, jobId, signal))
        if (job !== undefined) return job
        if (fatal.length > 0) throw fatal[0]
        if (Date.now() > deadline) throw new Error(`job ${jobId} does not end`)
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
    },
    async events() {
      const list = await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 100_000 }), {
        signal,
      })
      return list.map((entry) => entry.event)
    },
    async stop() {
      await jobs.stop()
      lifetime.abort()
    },
  }
}

async function findEnded(
  catalogue: MemoryCatalogue,
  jobId: string,
  signal: AbortSignal,
): Promise<JobRecord | undefined> {
  const job = await catalogue.transaction(async (tx) => await tx.jobs.find(jobId), { signal })
  return job?.endedAt === undefined ? undefined : job
}
