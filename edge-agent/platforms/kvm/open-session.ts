import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { z } from 'zod'
import type { CallOptions } from '../../block/block-source.ts'
import { lazyNbdSource } from '../../nbd/client/lazy-nbd-disk.ts'
import { QEMU_OPENERS_MAX } from '../../nbd/client/openers-max.ts'
import type { QmpConnection } from '../../qemu/qmp-connection.ts'
import { chooseMode, type ModeAnswer } from '../choose-mode.ts'
import type { BackupRequest, FrozenDisk, SourceVm } from '../source-connector.ts'
import { isGuestAgentConnected, type NodeState, queryExports, queryJobs, queryNodes } from './block-queries.ts'
import { clearRemains } from './clear-remains.ts'
import { expectFleecingSpace, type FleecingLimits } from './fleecing-guard.ts'
import { type GuestFreezer, withFrozenGuest } from './guest-freeze.ts'
import { KvmBackupSession } from './kvm-backup-session.ts'
import { isOurs, type SessionNames, sessionNames } from './session-names.ts'
import { SessionWatch } from './session-watch.ts'
import { type LocatedVm, nbdPatience, type ServiceAddress, type VmHost } from './vm-host.ts'
import type { MonitorLease } from './vm-monitors.ts'

/** Of new bitmaps: what QEMU takes for QCOW2 by itself, and what the repository's chunks divide into. */
const GRANULARITY_BYTES = 65_536
const TRANSACTION_TIMEOUT_MS = 30_000
const CLEAR_TIMEOUT_MS = 60_000

export interface SessionParts {
  readonly located: LocatedVm
  readonly vm: SourceVm
  /** Belongs to the session once this resolved. */
  readonly lease: MonitorLease
  readonly request: BackupRequest
  readonly clock: Clock
  readonly limits: FleecingLimits
  readonly onClosed: () => void
}

interface DiskPlan extends ModeAnswer {
  readonly diskId: string
  readonly sizeBytes: number
  readonly tracks: boolean
  readonly baseBitmap: string | undefined
  readonly names: ReturnType<SessionNames['disk']>
}

/**
 * Freezes all disks of a running VM at one instant. One transaction starts the fleecing jobs, makes the new bitmaps and
 * copies the old ones; then an NBD export shows each disk as it was.
 * Rejects with `source.*` and `qemu.*`; then nothing of the session is left in QEMU.
 */
export async function openSession(parts: SessionParts, { signal }: CallOptions): Promise<KvmBackupSession> {
  const { located, lease, request, vm, limits, onClosed } = parts
  const { host, config } = located
  const { qmp } = lease
  await expectNoSession(qmp, vm, { signal })
  expectFleecingSpace(await host.measureSpace(config.vmId, { signal }), limits)
  const names = sessionNames(request.sessionId)
  const plans = planDisks(located, await queryNodes(qmp, { signal }), request, names)
  const watch = new SessionWatch({ qmp, names, vmName: vm.name })
  await using undo = new AsyncDisposableStack()
  const nbd = undo.use(await host.openService(config.vmId, 'nbd', { signal }))
  try {
    for (const plan of plans) await addOverlay(qmp, located, plan, { signal })
    const { takenAt, consistency } = await takeInstant(qmp, parts, instantActions(plans, names), { signal })
    await exportDisks(qmp, nbd, plans, names, { signal })
    watch.expectJobs(plans.map((plan) => plan.names.job))
    const disks = plans.map((plan) => frozenDisk({ host, nbd }, plan, names))
    const session = { located, lease, nbd, names, watch, limits, takenAt, consistency, vm, disks, onClosed }
    const opened = new KvmBackupSession(session)
    undo.move()
    return opened
  } catch (error) {
    watch[Symbol.dispose]()
    const mine = new Set([names.bitmap, names.frozenBitmap])
    const doomed = (_diskId: string, bitmap: string): boolean => mine.has(bitmap)
    // Where this fails too, QEMU is gone or stuck, and the first error says more.
    await clearRemains(qmp, located, { signal: AbortSignal.timeout(CLEAR_TIMEOUT_MS), doomed }).catch(() => {})
    throw error
  }
}

async function expectNoSession(qmp: QmpConnection, vm: SourceVm, options: CallOptions): Promise<void> {
  const nodes = (await queryNodes(qmp, options)).map(({ nodeName }) => nodeName)
  const found = [...(await queryExports(qmp, options)), ...(await queryJobs(qmp, options)), ...nodes].find(isOurs)
  if (found === undefined) return
  throw new PlatformError('source.busy', `another backup of ${vm.name} is open or was left behind: ${found}`, {
    details: { platformRef: vm.platformRef },
  })
}

function planDisks(
  { config }: LocatedVm,
  nodes: readonly NodeState[],
  request: BackupRequest,
  names: SessionNames,
): DiskPlan[] {
  return config.disks.map(({ diskId, format }, index) => {
    const node = nodes.find(({ nodeName }) => nodeName === diskId)
    if (node === undefined) {
      throw new PlatformError('source.disk_unsupported', `QEMU of ${config.name} has no disk ${diskId}`)
    }
    const { sizeBytes } = node
    const base = request.base.get(diskId)
    const tracks = format === 'qcow2'
    const checkpoint = base === undefined ? undefined : node.bitmaps.find(({ name }) => name === base.checkpoint)
    const answer = chooseMode({ full: request.full, base, sizeBytes, tracks, checkpoint })
    const baseBitmap = answer.mode === 'incremental' ? checkpoint?.name : undefined
    return { diskId, sizeBytes, tracks, baseBitmap, names: names.disk(diskId, index), ...answer }
  })
}

/** What the guest overwrites from the instant on is kept here; all else is read through from the disk. */
async function addOverlay(
  qmp: QmpConnection,
  { host, config }: LocatedVm,
  plan: DiskPlan,
  { signal }: CallOptions,
): Promise<void> {
  const { node, scratchFile } = plan.names
  const scratch = { file: scratchFile, sizeBytes: plan.sizeBytes }
  const filename = await host.createScratch(config.vmId, scratch, { signal })
  const overlay = {
    'driver': 'qcow2',
    'node-name': node,
    'backing': plan.diskId,
    'file': { driver: 'file', filename },
  }
  await qmp.execute('blockdev-add', overlay, z.unknown(), { signal })
}

/**
 * The transaction of the instant. The backup jobs come first: each drains its disk until the whole transaction is over,
 * so that no write falls between the instant and the bitmaps.
 */
export function instantActions(
  plans: readonly Pick<DiskPlan, 'diskId' | 'tracks' | 'baseBitmap' | 'names'>[],
  names: Pick<SessionNames, 'bitmap' | 'frozenBitmap'>,
): { readonly type: string; readonly data: Readonly<Record<string, unknown>> }[] {
  const granularity = GRANULARITY_BYTES
  const jobs = plans.map(({ diskId, names: { job, node } }) => {
    return { type: 'blockdev-backup', data: { 'job-id': job, 'device': diskId, 'target': node, 'sync': 'none' } }
  })
  const bitmaps = plans
    .filter(({ tracks }) => tracks)
    .map(({ diskId }) => {
      const data = { node: diskId, name: names.bitmap, persistent: true, granularity }
      return { type: 'block-dirty-bitmap-add', data }
    })
  const copies = plans.flatMap(({ diskId, baseBitmap }) => {
    if (baseBitmap === undefined) return []
    const copy = { node: diskId, name: names.frozenBitmap, disabled: true, granularity }
    const merge = { node: diskId, target: names.frozenBitmap, bitmaps: [baseBitmap] }
    return [
      { type: 'block-dirty-bitmap-add', data: copy },
      { type: 'block-dirty-bitmap-merge', data: merge },
    ]
  })
  return [...jobs, ...bitmaps, ...copies]
}

async function takeInstant(
  qmp: QmpConnection,
  { located: { host, config }, request, clock }: SessionParts,
  actions: ReturnType<typeof instantActions>,
  { signal }: CallOptions,
) {
  const instant = async (timeoutMs: number): Promise<Date> => {
    await qmp.execute('transaction', { actions }, z.unknown(), { signal, timeoutMs })
    return clock.now()
  }
  if (request.quiesce && (await isGuestAgentConnected(qmp, { signal }))) {
    const freezer: GuestFreezer = {
      freeze: async ({ maxMs, ...options }) => await host.freezeGuest(config.vmId, { maxMs }, options),
      thaw: async () => await host.thawGuest(config.vmId),
    }
    const { value, consistency } = await withFrozenGuest(freezer, instant, { signal })
    return { takenAt: value, consistency }
  }
  return { takenAt: await instant(TRANSACTION_TIMEOUT_MS), consistency: 'crash' as const }
}

async function exportDisks(
  qmp: QmpConnection,
  { hostPath }: ServiceAddress,
  plans: readonly DiskPlan[],
  names: SessionNames,
  { signal }: CallOptions,
): Promise<void> {
  const addr = { type: 'unix', data: { path: hostPath } }
  await qmp.execute('nbd-server-start', { addr }, z.unknown(), { signal })
  for (const { diskId, baseBitmap, names: own } of plans) {
    const bitmaps = baseBitmap === undefined ? {} : { bitmaps: [{ node: diskId, name: names.frozenBitmap }] }
    const options = { 'type': 'nbd', 'id': own.export, 'node-name': own.node, 'name': own.export, ...bitmaps }
    await qmp.execute('block-export-add', options, z.unknown(), { signal })
  }
}

function frozenDisk(
  { host, nbd }: { readonly host: VmHost; readonly nbd: ServiceAddress },
  plan: DiskPlan,
  names: SessionNames,
): FrozenDisk {
  const { diskId, sizeBytes, mode, reason, tracks, baseBitmap } = plan
  const dirty = baseBitmap === undefined ? {} : { dirtyContext: `qemu:dirty-bitmap:${names.frozenBitmap}` }
  const address = { transport: 'unix' as const, path: nbd.path }
  const endpoint = { kind: 'nbd' as const, address, exportName: plan.names.export, ...dirty, ...nbdPatience(host) }
  const source = lazyNbdSource({ endpoint, sizeBytes, openersMax: QEMU_OPENERS_MAX })
  const token = { diskId, sizeBytes, checkpoint: names.bitmap, granularityBytes: GRANULARITY_BYTES }
  return { diskId, sizeBytes, mode, reason, source, ...(tracks ? { token } : {}) }
}
