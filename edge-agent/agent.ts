import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import type { EnrolmentAnswer } from '@sendense/shared/contracts/enrolment.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { adoptRestorePoints } from './backup/adopt-restore-points.ts'
import { createBackupRunner } from './backup/backup-flow.ts'
import { settleDeletions } from './backup/delete-restore-point.ts'
import type { CallOptions } from './block/block-source.ts'
import type { Catalogue } from './catalog/catalogue.ts'
import { type MariadbCatalogue, openMariadbCatalogue } from './catalog/mariadb/mariadb-catalogue.ts'
import { CommandDispatcher } from './commands/command-dispatcher.ts'
import { AGENT_VERSION, type EdgeAgentConfig } from './config.ts'
import { type AgentIdentity, openAgentIdentity } from './control-link/agent-identity.ts'
import { ControlLink } from './control-link/control-link.ts'
import { enrol } from './control-link/enrolment.ts'
import { ProgressBoard } from './control-link/progress-board.ts'
import { chunkRepositoryEntries } from './jobs/chunk-repositories.ts'
import { JobEngine } from './jobs/job-engine.ts'
import { prepareLocalRepository } from './jobs/local-repository.ts'
import { PlatformRegistry } from './jobs/platform-registry.ts'
import { type RepositoryEntry, RepositoryRegistry } from './jobs/repository-registry.ts'
import { VmInventory } from './jobs/vm-inventory.ts'
import { createMover, defaultThreadsMax, type MoverOptions } from './mover/create-mover.ts'
import type { GuardSettings } from './mover/latency-guard.ts'
import { type OpenCaptureHosts, openCaptureHosts } from './open-capture-hosts.ts'
import { openTunnel } from './open-tunnel.ts'
import { openPlatforms } from './platforms/open-platforms.ts'
import { CHUNK_DISK_OPENER } from './repository/chunk-store/chunk-disk-address.ts'
import { createRestoreRunner } from './restore/restore-flow.ts'
import { createVerifyRunner } from './restore/verify-flow.ts'

const INVENTORY_EVERY_MS = 60_000
/** Who opens the disks of chunk repositories in the mover's threads. */
const BLOCK_OPENERS = {
  [CHUNK_DISK_OPENER]: new URL('./repository/chunk-store/chunk-disk-opener.ts', import.meta.url).href,
}
/** Of the memory: what packs under way may use. */
const PACK_SHARE = 1 / 4
const INBOX_KEPT_MS = 30 * 24 * 3_600_000

export interface RunOptions extends CallOptions {
  readonly config: EdgeAgentConfig
  readonly logger: Logger
  /** A broken invariant: the process must end. */
  readonly onFatal: (error: unknown) => void
}

/**
 * The edge agent, from its configuration to its end. Resolves after `signal` aborted and everything it had begun was
 * put back or closed. Rejects where it cannot begin: `config.invalid`, `agent.not_enrolled`, `enrolment.*`.
 */
export async function runAgent({ config, logger, signal, onFatal }: RunOptions): Promise<void> {
  await mkdir(config.runtimeDir, { recursive: true, mode: 0o700 })
  const identity = await openAgentIdentity(config.stateDir)
  await using catalogue = await openMariadbCatalogue({
    socketPath: config.databaseSocket,
    databaseName: config.databaseName,
    logger,
    signal,
  })
  const bootEpoch = await beginEpoch(catalogue, { signal })
  const enrolment = await enrol({
    stateDir: config.stateDir,
    identity,
    cloudUrl: config.cloudUrl,
    token: config.enrolmentToken,
    hostname: hostname(),
    agentVersion: AGENT_VERSION,
    clock: systemClock,
    logger,
    signal,
  })
  const { agentId } = enrolment
  const log = logger.child({ agentId })
  log.info({ bootEpoch, version: AGENT_VERSION }, 'the agent begins')
  await using tunnel = await openTunnel({ config, catalogue, clock: systemClock, logger: log, newId, signal })
  await using captureHosts = await openCaptureHosts({ tunnel, jobsMax: config.jobsMax, logger: log, signal })
  const kvmHosts = captureHosts === undefined ? undefined : () => captureHosts.hosts.list()
  await using platforms = new PlatformRegistry(openPlatforms({ kvm: config.kvm, kvmHosts }))
  await using repositories = await openRepositories(config, catalogue, { identity, agentId, logger: log, signal })
  await work(
    {
      jobsMax: config.jobsMax,
      mover: shareMemory(config.mover).mover,
      sparing: config.sparing,
      logger: log,
      signal,
      onFatal,
    },
    { catalogue, identity, enrolment, bootEpoch, captureHosts, platforms, repositories, clock: systemClock },
  )
  log.info({}, 'the agent has ended')
}

/** What one process of the agent works with; opened and closed by who calls. */
export interface AgentParts {
  readonly catalogue: Catalogue
  readonly identity: AgentIdentity
  readonly enrolment: EnrolmentAnswer
  readonly bootEpoch: number
  /** Absent: no capture agent can connect. */
  readonly captureHosts?: Pick<OpenCaptureHosts, 'refresh' | 'onReachable'> | undefined
  readonly platforms: PlatformRegistry
  readonly repositories: RepositoryRegistry
  readonly clock: Clock
}

export interface WorkOptions extends Omit<RunOptions, 'config'> {
  readonly jobsMax: number
  readonly mover?: MoverOptions
  /** When backups give way to their guests. Absent: the defaults. */
  readonly sparing?: GuardSettings
}

/**
 * Recovers, then works until `signal` aborts: the link to the cloud, commands, jobs, the inventory. Rejects with what
 * recovery failed with, when all it had begun has ended: an agent that cannot work must not look as if it could.
 */
export async function work(
  { jobsMax, mover: moverOptions, sparing, logger, signal: stopped, onFatal }: WorkOptions,
  parts: AgentParts,
): Promise<void> {
  const { catalogue, identity, enrolment, bootEpoch, captureHosts, platforms, repositories, clock } = parts
  const { agentId, tenantId } = enrolment
  const over = new AbortController()
  const signal = AbortSignal.any([stopped, over.signal])
  await using mover = createMover({ openers: BLOCK_OPENERS, ...moverOptions })
  const progress = new ProgressBoard()
  const inventory = new VmInventory({
    catalogue,
    platforms,
    repositories,
    clock,
    logger,
    newId,
    hostname: hostname(),
    agentVersion: AGENT_VERSION,
  })
  const refresh = () => {
    refreshAll({ captureHosts, inventory }, { signal }).catch((error: unknown) => {
      if (!signal.aborted) logger.error({ err: error }, 'the inventory could not be read')
    })
  }
  const flows = {
    catalogue,
    platforms,
    repositories,
    mover,
    sparing,
    clock,
    logger,
    newId,
    agentId,
    tenantId,
    inventory,
  }
  const jobs = new JobEngine({
    catalogue,
    runners: {
      'backup-vm': createBackupRunner(flows),
      'restore-vm': createRestoreRunner(flows),
      'verify-restore-point': createVerifyRunner(flows),
    },
    progress,
    clock,
    logger,
    runningMax: jobsMax,
    onFatal,
    onJobEnded: refresh,
  })
  const dispatcher = new CommandDispatcher({ catalogue, jobs, inventory, repositories, clock, logger })
  let recovered = false
  let stopListening: (() => void) | undefined
  const link = new ControlLink({
    catalogue,
    identity,
    enrolment,
    bootEpoch,
    agentVersion: AGENT_VERSION,
    progress,
    clock,
    logger,
    newId,
    // Until what a dead process left is put in order, commands wait in the inbox.
    onCommand: () => recovered && dispatcher.nudge({ signal }),
  })
  const linked = link.run({ signal })
  try {
    await adoptAll(parts, { logger, signal })
    await inventory.refresh({ signal, force: true })
    await jobs.start()
    recovered = true
    dispatcher.nudge({ signal })
    // Not before: recovery is the first to touch what a dead process left.
    stopListening = captureHosts?.onReachable(refresh)
    while (!signal.aborted) {
      await clock.sleep(INVENTORY_EVERY_MS, { signal }).catch(() => undefined)
      if (signal.aborted) break
      refresh()
      // Whatever kept a command waiting may be over.
      dispatcher.nudge({ signal })
    }
  } catch (error) {
    if (!stopped.aborted) throw error
  } finally {
    stopListening?.()
    over.abort(new Error('the agent has ended'))
    await dispatcher.settle().catch(() => undefined)
    await jobs.stop()
    await linked
  }
}

async function refreshAll(
  { captureHosts, inventory }: Pick<AgentParts, 'captureHosts'> & { readonly inventory: VmInventory },
  { signal }: CallOptions,
): Promise<void> {
  await captureHosts?.refresh({ signal })
  await inventory.refresh({ signal })
}

async function beginEpoch(catalogue: Catalogue, { signal }: CallOptions): Promise<number> {
  const before = new Date(systemClock.now().getTime() - INBOX_KEPT_MS)
  return await catalogue.transaction(
    async (tx) => {
      const epoch = (await tx.settings.getNumber('boot-epoch')) + 1
      await tx.settings.setNumber('boot-epoch', epoch)
      await tx.inbox.trim(before)
      return epoch
    },
    { signal },
  )
}

/** One budget for the buffers of copies and for the packs that chunk repositories are writing. */
function shareMemory({ threadsMax, memoryBytes }: EdgeAgentConfig['mover']) {
  const threads = threadsMax ?? defaultThreadsMax()
  const packBytes = memoryBytes * PACK_SHARE
  const mover = { threadsMax: threads, memoryBytes: memoryBytes - packBytes }
  return { mover, packBytesPerThread: Math.floor(packBytes / threads) }
}

async function openRepositories(
  config: EdgeAgentConfig,
  catalogue: MariadbCatalogue,
  { identity, agentId, logger, signal }: CallOptions & { identity: AgentIdentity; agentId: string; logger: Logger },
): Promise<RepositoryRegistry> {
  const clock = systemClock
  const entries: RepositoryEntry[] = []
  if (config.repository !== undefined) {
    const { dir, name, encryption, rate } = config.repository
    const entry = await prepareLocalRepository({
      dir,
      name,
      encryption,
      stateDir: config.stateDir,
      runtimeDir: path.join(config.runtimeDir, 'repositories'),
      signingKey: identity.signingKey,
      newId,
      clock,
      logger,
    })
    entries.push(rate === undefined ? entry : { ...entry, rate })
  }
  const { stateDir } = config
  const { signingKey } = identity
  const packs = (repositoryId: string) => catalogue.packs(repositoryId)
  const { packBytesPerThread: writeBytesPerThread } = shareMemory(config.mover)
  const own = { stateDir, agentId, signingKey, packs, writeBytesPerThread, clock, logger }
  entries.push(...(await chunkRepositoryEntries(own)))
  const registry = new RepositoryRegistry(entries, { clock, logger })
  await catalogue.transaction(
    async (tx) => {
      for (const record of registry.records()) await tx.repositories.put(record)
    },
    { signal },
  )
  return registry
}

/** Restore points that were sealed and not catalogued before a stop. A repository that is away is asked by its next backup. */
async function adoptAll(
  { catalogue, repositories, clock }: AgentParts,
  { logger, signal }: CallOptions & { logger: Logger },
): Promise<void> {
  for (const { repositoryId } of repositories.records()) {
    try {
      const repository = await repositories.get(repositoryId, { signal })
      const deleted = await settleDeletions({ catalogue, repository, clock }, { signal })
      if (deleted.length > 0) logger.info({ repositoryId, deleted }, 'finished deletions that a stop had cut off')
      const adopted = await adoptRestorePoints({ catalogue, repository, signal })
      if (adopted.length > 0) logger.info({ repositoryId, adopted }, 'adopted restore points')
    } catch (error) {
      signal.throwIfAborted()
      logger.warn({ repositoryId, err: error }, 'restore points of this repository could not all be read')
    }
  }
}
