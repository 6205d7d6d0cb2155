import type { BackupVm } from '@sendense/shared/contracts/agent-command.ts'
import type { JobResult } from '@sendense/shared/contracts/job.ts'
import { backupReasons } from '@sendense/shared/domain/backup-reason.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import type { RestorePointRecord } from '../catalog/restore-point-store.ts'
import type { VmContextRecord } from '../catalog/vm-context-store.ts'
import type { JobRun, JobRunner } from '../jobs/job-runner.ts'
import type { PlatformRegistry } from '../jobs/platform-registry.ts'
import type { RepositoryRegistry } from '../jobs/repository-registry.ts'
import type { GuardSettings } from '../mover/latency-guard.ts'
import type { CopyProgress, Mover } from '../mover/mover.ts'
import { SharedThrottle } from '../mover/rate/shared-throttle.ts'
import type { SourceBackupSession } from '../platforms/source-connector.ts'
import type { BackupWriter, Repository, SealFacts } from '../repository/repository.ts'
import type { SealedManifest } from '../repository/restore-point-manifest.ts'
import { adoptRestorePoints } from './adopt-restore-points.ts'
import type { BackupStep } from './backup-steps.ts'
import { type BackupBase, checkpointsToKeep, chooseBase } from './choose-base.ts'
import { copyPlanned } from './copy-planned.ts'
import { GuestSparing } from './guest-sparing.ts'
import { makeRoom } from './make-room.ts'
import { nextInstant } from './next-instant.ts'
import { isParentDamage, planWithoutParent, toDamageAlert } from './parent-damage.ts'
import { planDisks, type PlannedDisk } from './plan-disks.ts'
import { recordRestorePoint } from './record-restore-point.ts'

/** From the seal on a backup is not cancelled any more, but nothing waits for ever. */
const SETTLE_TIMEOUT_MS = 15 * 60_000

export interface BackupDependencies {
  readonly catalogue: Catalogue
  readonly platforms: PlatformRegistry
  readonly repositories: RepositoryRegistry
  readonly mover: Mover
  readonly clock: Clock
  readonly logger: Logger
  readonly newId: () => string
  readonly agentId: string
  readonly tenantId: string
  /** When guests are spared. Absent: the defaults. */
  readonly sparing?: GuardSettings | undefined
  /** Called when a step is done; tests stop the agent there. */
  readonly onStep?: (step: BackupStep) => Promise<void>
}

type BackupArguments = z.infer<typeof BackupVm>
type BackupJobRun = JobRun<BackupArguments>

/**
 * Backs up one VM: freeze, copy each disk, seal, catalogue, and only then let go of the old change tracking.
 * Cut off anywhere, it leaves either no restore point and the old base, or a sealed one that `recover` adopts.
 */
export function createBackupRunner(deps: BackupDependencies): JobRunner<BackupArguments> {
  return {
    kind: 'backup',
    async run(run, options) {
      const vm = await getVm(deps, run.arguments.vmId, options)
      run.progress({ phase: 'prepare', sentence: `Preparing the backup of ${vm.name}.`, doneBytes: 0, totalBytes: 0 })
      const source = deps.platforms.source(vm.platform)
      await source.clearSessions(vm.platformRef, options)
      const repository = await deps.repositories.get(run.arguments.repositoryId, options)
      await adopt(deps, repository, vm.vmId, options)
      const current = await getVm(deps, vm.vmId, options)
      await source.reconcile(vm.platformRef, checkpointsToKeep(current), options)
      await deps.onStep?.('reconciled')
      const base = await chooseBase({ catalogue: deps.catalogue, repository, vm: current }, options)
      for (const doubt of base.doubts) await run.log('warning', 'prepare', doubt)
      if (base.damaged !== undefined) await raiseDamage(deps, current, base.damaged, options)
      const roomy = run.arguments.mode === 'full' ? base : await makeRoom(base, { run, repository }, options)
      return await backUp(deps, { run, vm, repository, base: roomy }, options)
    },

    async recover(run, options) {
      const { vmId, repositoryId, jobId } = run.arguments
      const { platform, platformRef } = await getVm(deps, vmId, options)
      const source = deps.platforms.source(platform)
      // First, for a guest must not stay frozen or fleecing for as long as the repository is away.
      await source.clearSessions(platformRef, options)
      const repository = await deps.repositories.get(repositoryId, options)
      await adopt(deps, repository, vmId, options)
      const current = await getVm(deps, vmId, options)
      await source.reconcile(platformRef, checkpointsToKeep(current), options)
      const point = await deps.catalogue.transaction(async (tx) => await tx.restorePoints.findByJob(jobId), options)
      return point === undefined ? undefined : toResult(point)
    },
  }
}

interface Backup {
  readonly run: BackupJobRun
  readonly vm: PresentVm
  readonly repository: Repository
  readonly base: BackupBase
}

/** One whose disks stand still. */
interface FrozenBackup extends Backup {
  readonly planned: readonly PlannedDisk[]
  readonly sparing: GuestSparing
}

async function backUp(deps: BackupDependencies, backup: Backup, { signal }: CallOptions): Promise<JobResult> {
  const { run, vm, base } = backup
  const wanted = run.arguments
  run.progress({ phase: 'freeze', sentence: `Freezing the disks of ${vm.name}.`, doneBytes: 0, totalBytes: 0 })
  const request = {
    platformRef: vm.platformRef,
    sessionId: deps.newId(),
    quiesce: wanted.quiesce,
    base: base.tokens,
    full: wanted.mode === 'full',
  }
  await using session = await deps.platforms.source(vm.platform).openBackup(request, { signal })
  await deps.onStep?.('frozen')
  await using sparing = await GuestSparing.open(session, { clock: deps.clock, settings: deps.sparing, signal })
  const held = AbortSignal.any([signal, session.lost])
  const instant = session.takenAt
  const takenAt = await nextInstant({ catalogue: deps.catalogue, vmId: vm.vmId, instant }, { signal: held })
  const first = planDisks(session.disks, base)
  await logPlan(run, session, first)
  await using written = await writeDisks(deps, { ...backup, planned: first, sparing }, { signal: held })
  held.throwIfAborted()

  const settled = AbortSignal.timeout(SETTLE_TIMEOUT_MS)
  run.progress({ phase: 'seal', sentence: 'Sealing the restore point.', doneBytes: 0, totalBytes: 0 })
  const facts = { ...toSealFacts(deps, backup, session, written), takenAt: takenAt.toISOString() }
  const sealed = await written.writer.seal(facts, { signal: settled })
  await deps.onStep?.('sealed')
  await deps.catalogue.transaction(async (tx) => await recordRestorePoint(tx, sealed, { adopted: false }), {
    signal: settled,
  })
  await deps.onStep?.('catalogued')
  await commit(deps, run, session, settled)
  await deps.onStep?.('committed')
  const result = toResult(sealed.manifest)
  await run.log('info', 'seal', sealedSentence(sealed))
  return result
}

/** Owns its writer. */
interface WrittenDisks extends AsyncDisposable {
  readonly writer: BackupWriter
  readonly planned: readonly PlannedDisk[]
  readonly copied: ReadonlyMap<string, CopyProgress>
}

/**
 * Copies the frozen disks into a new writer. A parent that turns out damaged is given up, and the same frozen disks are
 * read in full: a VM does not stay without backups until a person asks for a full one.
 */
async function writeDisks(deps: BackupDependencies, backup: FrozenBackup, options: CallOptions): Promise<WrittenDisks> {
  const { run, vm, base, planned } = backup
  const parentId = planned.every(({ mode }) => mode === 'full') ? undefined : base.parent?.manifest.restorePointId
  try {
    return await writeOnto(deps, backup, { ...options, parentId })
  } catch (error) {
    options.signal.throwIfAborted()
    if (parentId === undefined || !isParentDamage(error)) throw error
    await run.log(
      'warning',
      'copy',
      `The last restore point is damaged: a full backup begins a new chain. ${error.message}`,
    )
    await raiseDamage(deps, vm, { restorePointId: parentId, error }, options)
    const afresh = planWithoutParent(planned)
    await logModes(run, afresh)
    return await writeOnto(deps, { ...backup, planned: afresh }, { ...options, parentId: undefined })
  }
}

async function writeOnto(
  deps: BackupDependencies,
  backup: FrozenBackup,
  { signal, parentId }: CallOptions & { readonly parentId: string | undefined },
): Promise<WrittenDisks> {
  const { vm, repository, planned } = backup
  const newBackup = {
    restorePointId: deps.newId(),
    vmId: vm.vmId,
    ...(parentId === undefined ? {} : { parentRestorePointId: parentId }),
    disks: planned.map(({ frozen, mode }) => ({ diskId: frozen.diskId, sizeBytes: frozen.sizeBytes, mode })),
  }
  await using undo = new AsyncDisposableStack()
  const writer = undo.use(await repository.openBackup(newBackup, { signal }))
  await deps.onStep?.('opened')
  const copied = await copy(deps, { ...backup, writer }, { signal })
  await deps.onStep?.('copied')
  const kept = undo.move()
  return { writer, planned, copied, [Symbol.asyncDispose]: async () => await kept.disposeAsync() }
}

async function raiseDamage(
  deps: BackupDependencies,
  { vmId, name }: VmContextRecord,
  { restorePointId, error }: { readonly restorePointId: string; readonly error: PlatformError },
  options: CallOptions,
): Promise<void> {
  deps.logger.error({ vmId, restorePointId, err: error }, 'the newest restore point is damaged')
  const alert = toDamageAlert(error, { alertId: deps.newId(), vmId, vmName: name, restorePointId })
  await deps.catalogue.transaction(async (tx) => await tx.outbox.append(alert, deps.clock.now()), options)
}

async function copy(
  deps: BackupDependencies,
  { run, vm, repository, planned, writer, sparing }: FrozenBackup & { readonly writer: BackupWriter },
  options: CallOptions,
): Promise<ReadonlyMap<string, CopyProgress>> {
  const { repositoryId, readRateMaxBytesPerSecond: ceiling } = run.arguments
  const throttles = deps.repositories.throttles(repositoryId)
  if (ceiling !== undefined) throttles.push(SharedThrottle.at(ceiling))
  const owner = { tenantId: deps.tenantId, jobId: run.job.jobId }
  const { idKey } = repository
  const task = { mover: deps.mover, run, vmName: vm.name, planned, writer, idKey, owner, throttles, sparing }
  return await copyPlanned(task, options)
}

/** The restore point exists by now: where the platform cannot be told, the next reconcile does it. */
async function commit(
  deps: BackupDependencies,
  run: BackupJobRun,
  session: SourceBackupSession,
  signal: AbortSignal,
): Promise<void> {
  try {
    await session.commit({ signal })
  } catch (error) {
    deps.logger.warn({ jobId: run.job.jobId, err: error }, 'the old checkpoint could not be dropped yet')
    await run.log(
      'warning',
      'seal',
      'The restore point is sealed, but the platform did not drop the old checkpoint yet; the next backup does.',
    )
  }
}

async function logPlan(
  run: BackupJobRun,
  session: SourceBackupSession,
  planned: readonly PlannedDisk[],
): Promise<void> {
  const how = {
    application: 'with its applications flushed',
    filesystem: 'with its file systems frozen',
    crash: 'as it ran',
  }
  await run.log(
    'info',
    'freeze',
    `The disks of ${session.vm.name} were frozen at one instant, ${how[session.consistency]}.`,
  )
  await logModes(run, planned)
}

async function logModes(run: BackupJobRun, planned: readonly PlannedDisk[]): Promise<void> {
  for (const { frozen, mode, reason } of planned) {
    const size = formatByteSize(frozen.sizeBytes)
    await run.log('info', 'plan', `Disk ${frozen.diskId} (${size}): ${mode}. ${backupReasons[reason].sentence}`)
  }
}

function toSealFacts(
  deps: BackupDependencies,
  { run, vm }: Backup,
  session: SourceBackupSession,
  { planned, copied }: WrittenDisks,
): Omit<SealFacts, 'takenAt'> {
  return {
    tenantId: deps.tenantId,
    agentId: deps.agentId,
    jobId: run.job.jobId,
    vmName: session.vm.name,
    platform: vm.platform,
    platformRef: vm.platformRef,
    definition: session.vm.definition,
    memoryBytes: session.vm.memoryBytes,
    cpuCount: session.vm.cpuCount,
    consistency: session.consistency,
    disks: planned.map(({ frozen, mode, reason }) => {
      const counters = copied.get(frozen.diskId)
      const token = frozen.token
      return {
        diskId: frozen.diskId,
        mode,
        reason,
        readBytes: counters?.readBytes ?? 0,
        writtenBytes: counters?.writtenBytes ?? 0,
        zeroedBytes: counters?.zeroedBytes ?? 0,
        ...(token === undefined
          ? {}
          : { tracking: { checkpoint: token.checkpoint, granularityBytes: token.granularityBytes } }),
      }
    }),
  }
}

type PresentVm = VmContextRecord & { readonly platformRef: string }

async function getVm({ catalogue }: BackupDependencies, vmId: string, options: CallOptions): Promise<PresentVm> {
  const vm = await catalogue.transaction(async (tx) => await tx.vms.find(vmId), options)
  if (vm?.platformRef === undefined) {
    throw new PlatformError('source.vm_not_found', `this agent knows no VM ${vmId}`, { details: { vmId } })
  }
  return { ...vm, platformRef: vm.platformRef }
}

async function adopt(deps: BackupDependencies, repository: Repository, vmId: string, options: CallOptions) {
  try {
    const adopted = await adoptRestorePoints({ catalogue: deps.catalogue, repository, vmId, ...options })
    if (adopted.length > 0) deps.logger.info({ vmId, adopted }, 'adopted restore points that were sealed before a stop')
  } catch (error) {
    options.signal.throwIfAborted()
    if (!(error instanceof PlatformError) || error.code !== 'repository.manifest_invalid') throw error
    deps.logger.error({ vmId, err: error }, 'a restore point in the repository cannot be trusted')
  }
}

function sealedSentence({ manifest }: SealedManifest): string {
  const sum = (of: (disk: SealedManifest['manifest']['disks'][number]) => number) =>
    formatByteSize(manifest.disks.reduce((total, disk) => total + of(disk), 0))
  const read = sum((disk) => disk.readBytes)
  return `The restore point is sealed: ${read} read, ${sum((disk) => disk.storedBytes)} stored.`
}

function toResult(point: Pick<RestorePointRecord, 'restorePointId' | 'disks'>): JobResult {
  const sum = (of: (disk: { readBytes: number; storedBytes: number }) => number) =>
    point.disks.reduce((total, disk) => total + of(disk), 0)
  return {
    kind: 'backup',
    restorePointId: point.restorePointId,
    readBytes: sum((disk) => disk.readBytes),
    storedBytes: sum((disk) => disk.storedBytes),
  }
}
