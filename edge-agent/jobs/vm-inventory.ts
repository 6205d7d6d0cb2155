import { type InventoryReport, VmReport } from '@sendense/shared/contracts/inventory.ts'
import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue, CatalogueTransaction } from '../catalog/catalogue.ts'
import type { VmContextFacts, VmContextRecord } from '../catalog/vm-context-store.ts'
import type { SourceConnector, SourcePart, SourceVm } from '../platforms/source-connector.ts'
import type { PlatformRegistry } from './platform-registry.ts'
import type { RepositoryRegistry } from './repository-registry.ts'

const REPEAT_AFTER_MS = 15 * 60_000
const VMS_REPORTED_MAX = 5000
/** Of one refresh; the others follow with the next ones. */
const ALERTS_AT_ONCE_MAX = 20
const PROBLEMS_TOLD_MAX = 3
const NAME_TOLD_MAX = 100

/** Its id is the agent's own. */
const VmFacts = VmReport.partial({ vmId: true })

export interface VmInventoryOptions {
  readonly catalogue: Catalogue
  readonly platforms: PlatformRegistry
  readonly repositories: RepositoryRegistry
  readonly clock: Clock
  readonly logger: Logger
  readonly newId: () => string
  readonly hostname: string
  readonly agentVersion: string
}

interface PlatformListing {
  readonly listed: readonly SourceVm[]
  /** Whether the VM of that name is on a host that does not answer now: nothing is known of it. */
  readonly isSilent: (platformRef: string) => boolean
}

/** Keeps the VM contexts in step with the platforms and reports what is there when it changed, or after 15 minutes. */
export class VmInventory {
  readonly #options: VmInventoryOptions
  #lastReport: { readonly fingerprint: string; readonly atMs: number } | undefined
  #queue: Promise<unknown> = Promise.resolve()
  /** VMs that are left out and why, by platform and by the platform's name of them: told once. */
  readonly #told = new Map<PlatformKind, Map<string, string>>()

  constructor(options: VmInventoryOptions) {
    this.#options = options
  }

  /**
   * Reads platforms and repositories now; calls follow one another. A platform that does not answer keeps what was
   * known of it, and so does a VM that the contract of reports does not allow; of that an alert tells.
   * `force`: reports even what has not changed.
   */
  async refresh(options: CallOptions & { readonly force?: boolean }): Promise<void> {
    const run = this.#queue.then(async () => await this.#refresh(options))
    this.#queue = run.catch(() => undefined)
    await run
  }

  async #refresh({ signal, force = false }: CallOptions & { readonly force?: boolean }): Promise<void> {
    const { catalogue, platforms, repositories, clock, hostname, agentVersion } = this.#options
    for (const { kind, source } of platforms.list()) {
      const { listed, isSilent } = await this.#list(source, signal)
      const unfit = findUnfit(kind, listed)
      await catalogue.transaction(async (tx) => await this.#merge(tx, kind, { listed, unfit, isSilent }), { signal })
      await this.#tell(kind, { unfit, isSilent }, { signal })
    }
    const repositoryReports = await repositories.report({ signal })
    const at = clock.now()
    const records = await catalogue.transaction(async (tx) => await tx.vms.list(), { signal })
    const vms = records
      .flatMap(toVmReport)
      .filter((vm) => this.#isFit(vm))
      .slice(0, VMS_REPORTED_MAX)
    const inventory: InventoryReport = {
      takenAt: at.toISOString(),
      hostname,
      agentVersion,
      vms,
      repositories: repositoryReports,
    }
    const fingerprint = fingerprintOf(inventory)
    const due = this.#lastReport === undefined || at.getTime() - this.#lastReport.atMs >= REPEAT_AFTER_MS
    if (!force && !due && fingerprint === this.#lastReport?.fingerprint) return
    await catalogue.transaction(async (tx) => await tx.outbox.append({ type: 'inventory-reported', inventory }, at), {
      signal,
    })
    this.#lastReport = { fingerprint, atMs: at.getTime() }
  }

  async #list(source: SourceConnector, signal: AbortSignal): Promise<PlatformListing> {
    const { kind: platform } = source
    const whole: SourcePart = { name: platform, owns: () => true, listVms: (options) => source.listVms(options) }
    const listed: SourceVm[] = []
    const silent: SourcePart[] = []
    for (const part of source.parts?.() ?? [whole]) {
      try {
        listed.push(...(await Array.fromAsync(part.listVms({ signal }))))
      } catch (error) {
        signal.throwIfAborted()
        silent.push(part)
        this.#options.logger.warn({ platform, host: part.name, err: error }, 'the platform does not list its VMs')
      }
    }
    return { listed, isSilent: (platformRef) => silent.some((part) => part.owns(platformRef)) }
  }

  /** A warning and an alert for each VM that is left out, when that begins and when its cause is another one. */
  async #tell(
    platform: PlatformKind,
    { unfit, isSilent }: Pick<PlatformListing, 'isSilent'> & { readonly unfit: ReadonlyMap<SourceVm, string> },
    { signal }: CallOptions,
  ): Promise<void> {
    const { catalogue, clock, logger, newId } = this.#options
    const before = this.#told.get(platform)
    const told = new Map([...(before ?? [])].filter(([platformRef]) => isSilent(platformRef)))
    this.#told.set(platform, told)
    let raised = 0
    for (const [vm, problem] of unfit) {
      const isNew = before?.get(vm.platformRef) !== problem
      if (isNew && raised === ALERTS_AT_ONCE_MAX) continue
      told.set(vm.platformRef, problem)
      if (!isNew) continue
      raised += 1
      const name = vm.name.slice(0, NAME_TOLD_MAX)
      const details = { name, platformRef: vm.platformRef.slice(0, NAME_TOLD_MAX) }
      const sentence = `VM ${name} is left out of the inventory: ${problem}`
      const known = new PlatformError('source.vm_unfit', sentence, { details })
      logger.warn({ err: known }, 'a VM is left out of the inventory')
      const alert = {
        type: 'alert-raised',
        alertId: newId(),
        severity: 'warning',
        error: toErrorReport(known),
      } as const
      await catalogue.transaction(async (tx) => await tx.outbox.append(alert, clock.now()), { signal })
    }
  }

  /** Of what is remembered: another version of the agent may have written it. */
  #isFit(vm: VmReport): boolean {
    const problem = findProblem(vm)
    if (problem !== undefined) this.#options.logger.warn({ vmId: vm.vmId, problem }, 'a VM cannot be reported')
    return problem === undefined
  }

  async #merge(
    tx: CatalogueTransaction,
    platform: PlatformKind,
    { listed, unfit, isSilent }: PlatformListing & { readonly unfit: ReadonlyMap<SourceVm, string> },
  ): Promise<void> {
    const seen = new Set<string>()
    for (const vm of listed) {
      const known = await tx.vms.findByRef(platform, vm.platformRef)
      if (unfit.has(vm)) {
        if (known !== undefined) seen.add(known.vmId)
        continue
      }
      const restoredFrom = known?.restoredFrom ?? (await findOrigin(tx, vm))
      const vmId = known?.vmId ?? this.#options.newId()
      seen.add(vmId)
      await tx.vms.put({ ...toFacts(platform, vm), vmId, ...(restoredFrom === undefined ? {} : { restoredFrom }) })
    }
    for (const gone of await tx.vms.list()) {
      if (gone.platform !== platform || !gone.present || seen.has(gone.vmId)) continue
      if (gone.platformRef !== undefined && isSilent(gone.platformRef)) continue
      await tx.vms.put({ ...gone, present: false, powerState: 'unknown' })
    }
  }
}

function toFacts(platform: PlatformKind, vm: SourceVm): Omit<VmContextFacts, 'vmId'> {
  return {
    platform,
    platformRef: vm.platformRef,
    name: vm.name,
    ...(vm.hostName === undefined ? {} : { hostName: vm.hostName }),
    powerState: vm.powerState,
    guestAgent: vm.guestAgent,
    memoryBytes: vm.memoryBytes,
    cpuCount: vm.cpuCount,
    present: true,
    disks: vm.disks.map(({ diskId, sizeBytes, changeTracking }) => ({ diskId, sizeBytes, changeTracking })),
  }
}

/** VMs whose report the contract does not allow, and why. */
function findUnfit(platform: PlatformKind, listed: readonly SourceVm[]): Map<SourceVm, string> {
  return new Map(
    listed.flatMap((vm) => {
      const { present: _present, ...facts } = toFacts(platform, vm)
      const problem = findProblem(facts)
      return problem === undefined ? [] : [[vm, problem]]
    }),
  )
}

/** Why the contract does not allow this report, in words; undefined: it does. */
function findProblem(report: unknown): string | undefined {
  const parsed = VmFacts.safeParse(report)
  if (parsed.success) return undefined
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  return problems.slice(0, PROBLEMS_TOLD_MAX).join('; ')
}

/** A restore gives the VM it makes the id of its job. */
async function findOrigin(tx: CatalogueTransaction, vm: SourceVm): Promise<VmContextRecord['restoredFrom']> {
  if (vm.creationId === undefined) return undefined
  const job = await tx.jobs.find(vm.creationId)
  if (job?.arguments.type !== 'restore-vm') return undefined
  return { restorePointId: job.arguments.restorePointId, jobId: job.jobId }
}

function toVmReport(vm: VmContextRecord): VmReport[] {
  if (!vm.present || vm.platformRef === undefined) return []
  const { platformRef, present: _present, disks, ...rest } = vm
  return [{ ...rest, platformRef, disks: disks.map(({ tracking: _tracking, ...disk }) => disk) }]
}

/** Equal for inventories a person would call the same: free space counts in steps of a hundredth. */
function fingerprintOf({ vms, repositories }: InventoryReport): string {
  const rounded = repositories.map(({ checkedAt: _checkedAt, freeBytes, ...rest }) => {
    const step = Math.max(1, Math.floor((rest.capacityBytes ?? 0) / 100))
    return { ...rest, freeSteps: freeBytes === undefined ? undefined : Math.round(freeBytes / step) }
  })
  return JSON.stringify({ vms, rounded })
}
