import type { RestoreVm } from '@sendense/shared/contracts/agent-command.ts'
import type { JobResult } from '@sendense/shared/contracts/job.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import type { VmContextRecord } from '../catalog/vm-context-store.ts'
import { troublesNote, withTroublesLogged } from '../jobs/copy-troubles.ts'
import type { JobRun, JobRunner } from '../jobs/job-runner.ts'
import type { PlatformRegistry } from '../jobs/platform-registry.ts'
import type { RepositoryRegistry } from '../jobs/repository-registry.ts'
import { toUsageFact } from '../jobs/usage-facts.ts'
import type { VmInventory } from '../jobs/vm-inventory.ts'
import type { Mover } from '../mover/mover.ts'
import type { BootProof, TargetConnector } from '../platforms/target-connector.ts'
import type { RestorePointReader } from '../repository/repository.ts'
import { readDisks, type ReadSum } from './read-disks.ts'
import { isDamage, recordDamage } from './record-damage.ts'

/** Emulated guests boot slowly on busy hosts. */
const BOOT_TIMEOUT_MS = 5 * 60_000

/** Instants of a restore at which a dying agent leaves different things behind. */
export const restoreSteps = ['opened', 'created', 'copied', 'finished', 'started'] as const
export type RestoreStep = (typeof restoreSteps)[number]

export interface RestoreDependencies {
  readonly catalogue: Catalogue
  readonly platforms: PlatformRegistry
  readonly repositories: RepositoryRegistry
  readonly inventory: VmInventory
  readonly mover: Mover
  readonly clock: Clock
  readonly newId: () => string
  readonly tenantId: string
  /** Called when a step is done; tests stop the agent there. */
  readonly onStep?: (step: RestoreStep) => Promise<void>
}

type RestoreArguments = z.infer<typeof RestoreVm>

/**
 * Makes a new VM from a restore point; never touches an existing one. The job's id names what it makes, so that a
 * second run finds the VM a first one finished, and removes what it did not.
 */
export function createRestoreRunner(deps: RestoreDependencies): JobRunner<RestoreArguments> {
  return {
    kind: 'restore',
    async run(run, options) {
      try {
        return await restore(deps, run, options)
      } catch (error) {
        const { restorePointId } = run.arguments
        if (isDamage(error)) await recordDamage(deps, { restorePointId, error, facts: [] }, options)
        throw error
      }
    },

    async recover(run, options) {
      for (const { target } of deps.platforms.list()) await target?.reconcile([], options)
      await run.log('info', 'recover', 'What the restore had not finished was removed.')
      return undefined
    },
  }
}

async function restore(
  deps: RestoreDependencies,
  run: JobRun<RestoreArguments>,
  options: CallOptions,
): Promise<JobResult> {
  const { restorePointId, repositoryId, newVmName, start } = run.arguments
  run.progress({ phase: 'prepare', sentence: 'Opening the restore point.', doneBytes: 0, totalBytes: 0 })
  const repository = await deps.repositories.get(repositoryId, options)
  await using reader = await repository.openRestorePoint(restorePointId, options)
  await deps.onStep?.('opened')
  const { platform, platformRef: originRef } = reader.sealed.manifest
  const anywhere = deps.platforms.target(platform)
  const target = anywhere.near?.(originRef) ?? anywhere
  const made = await target.findCreated(run.job.jobId, options)
  const written =
    made === undefined
      ? await makeVm(deps, { run, reader, target, idKey: repository.idKey }, options)
      : { platformRef: made.platformRef, writtenBytes: 0 }
  await deps.onStep?.('finished')
  await deps.inventory.refresh(options)
  const vm = await deps.catalogue.transaction(
    async (tx) => await tx.vms.findByRef(platform, written.platformRef),
    options,
  )
  if (vm === undefined) throw new PlatformError('target.create_failed', `${newVmName} is not there after its restore`)
  const proof = start ? await boot(deps, { run, target, vm, platformRef: written.platformRef }, options) : undefined
  await deps.onStep?.('started')
  await recordUsage(deps, run, written.writtenBytes, options)
  return toResult(vm, written.writtenBytes, proof)
}

interface Restore {
  readonly run: JobRun<RestoreArguments>
  readonly reader: RestorePointReader
  readonly target: TargetConnector
  readonly idKey: Uint8Array
}

async function makeVm(
  deps: RestoreDependencies,
  { run, reader, target, idKey }: Restore,
  options: CallOptions,
): Promise<{ platformRef: string; writtenBytes: number }> {
  const { manifest } = reader.sealed
  const name = run.arguments.newVmName
  const sizes = manifest.disks.map(({ diskId, sizeBytes }) => ({ diskId, sizeBytes }))
  await run.log('info', 'create', `Making ${name} from the restore point of ${manifest.vmName}, ${manifest.takenAt}.`)
  await using vm = await target.createVm(
    {
      creationId: run.job.jobId,
      name,
      definition: manifest.definition,
      memoryBytes: manifest.memoryBytes,
      cpuCount: manifest.cpuCount,
      disks: sizes,
    },
    options,
  )
  await deps.onStep?.('created')
  const owner = { tenantId: deps.tenantId, jobId: run.job.jobId }
  const throttles = deps.repositories.throttles(run.arguments.repositoryId)
  const task = { mover: deps.mover, reader, sinks: vm.disks, idKey, owner, throttles }
  const { writtenBytes } = await withTroublesLogged(run, async (note) => {
    const onProgress = (sum: ReadSum) => {
      note(sum)
      const { doneBytes, plannedBytes } = sum
      const restored = `${formatByteSize(doneBytes)} of ${formatByteSize(plannedBytes)}`
      const sentence = `Restoring ${name}: ${restored}${troublesNote(sum)}.`
      run.progress({ phase: 'copy', sentence, doneBytes, totalBytes: plannedBytes })
    }
    return await readDisks(task, { ...options, onProgress })
  })
  await deps.onStep?.('copied')
  const platformRef = await vm.finish(options)
  await run.log(
    'info',
    'create',
    `${name} is restored: every chunk matched its hash, ${formatByteSize(writtenBytes)} written.`,
  )
  return { platformRef, writtenBytes }
}

async function boot(
  deps: RestoreDependencies,
  { run, target, vm, platformRef }: { run: JobRun; target: TargetConnector; vm: VmContextRecord; platformRef: string },
  options: CallOptions,
): Promise<BootProof> {
  const showLine = (line: string) => {
    const sentence = `${vm.name} is booting: ${line}`
    run.progress({ phase: 'boot', sentence, doneBytes: 0, totalBytes: 0 })
  }
  showLine('waiting for its first sign')
  const proof = await target.startVm(platformRef, { ...options, timeoutMs: BOOT_TIMEOUT_MS, onConsole: showLine })
  const took = formatDuration(proof.secondsToUp * 1000)
  await run.log('info', 'boot', `${vm.name} came up in ${took}: ${proof.evidence}`)
  await deps.inventory.refresh(options)
  return proof
}

async function recordUsage(
  deps: RestoreDependencies,
  run: JobRun<RestoreArguments>,
  writtenBytes: number,
  options: CallOptions,
): Promise<void> {
  const at = deps.clock.now()
  const source = { sourceId: run.job.jobId, resourceId: run.job.vmId, at }
  const facts = [
    toUsageFact({ ...source, meter: 'restore', amount: 1 }),
    toUsageFact({ ...source, meter: 'egress-bytes', amount: writtenBytes }),
  ]
  await deps.catalogue.transaction(async (tx) => await tx.outbox.append({ type: 'usage-measured', facts }, at), options)
}

function toResult(vm: VmContextRecord, writtenBytes: number, proof: BootProof | undefined): JobResult {
  return {
    kind: 'restore',
    vmId: vm.vmId,
    vmName: vm.name,
    writtenBytes,
    ...(proof === undefined ? {} : { bootProof: { ...proof, evidence: proof.evidence.slice(0, 2000) } }),
  }
}
