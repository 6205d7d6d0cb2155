import { rm } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { z } from 'zod'
import type { CallOptions } from '../../block/block-source.ts'
import { lazyNbdSource } from '../../nbd/client/lazy-nbd-disk.ts'
import { createQcow2Image } from '../../qemu/qemu-img.ts'
import type { QmpClient } from '../../qemu/qmp-client.ts'
import { chooseMode, type ModeAnswer } from '../choose-mode.ts'
import type { BackupRequest, FrozenDisk, SourceVm } from '../source-connector.ts'
import { isGuestAgentConnected, type NodeState, queryExports, queryJobs, queryNodes } from './block-queries.ts'
import { clearRemains } from './clear-remains.ts'
import { expectFleecingSpace, type FleecingLimits } from './fleecing-guard.ts'
import { withFrozenGuest } from './guest-freeze.ts'
import { KvmBackupSession } from './kvm-backup-session.ts'
import type { KvmVm } from './kvm-host.ts'
import { isOurs, type SessionNames, sessionNames } from './session-names.ts'
import { SessionWatch } from './session-watch.ts'
import type { MonitorLease } from './vm-monitors.ts'

/** Of new bitmaps: what QEMU takes for QCOW2 by itself, and what the repository's chunks divide into. */
const GRANULARITY_BYTES = 65_536
const TRANSACTION_TIMEOUT_MS = 30_000
const CLEAR_TIMEOUT_MS = 60_000

export interface SessionParts {
  readonly host: KvmVm
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
  const { host, lease, request, vm, limits, onClosed } = parts
  const { qmp } = lease
  await expectNoSession(qmp, vm, { signal })
  await expectFleecingSpace(host.dir, limits)
  const names = sessionNames(host, request.sessionId)
  const plans = planDisks(host, await queryNodes(qmp, { signal }), request, names)
  const watch = new SessionWatch({ qmp, names, vmName: vm.name })
  try {
    for (const plan of plans) await addOverlay(qmp, plan, { signal })
    const { takenAt, consistency } = await takeInstant(qmp, parts, instantActions(plans, names), { signal })
    await exportDisks(qmp, host, plans, names, { signal })
    const scratchFiles = plans.map((plan) => plan.names.scratchFile)
    const disks = plans.map((plan) => frozenDisk(host, plan, names))
    const session = { host, lease, names, watch, scratchFiles, limits, takenAt, consistency, vm, disks, onClosed }
    return new KvmBackupSession(session)
  } catch (error) {
    watch[Symbol.dispose]()
    const mine = new Set([names.bitmap, names.frozenBitmap])
    const doomed = (_diskId: string, bitmap: string): boolean => mine.has(bitmap)
    // Where this fails too, QEMU is gone or stuck, and the first error says more.
    await clearRemains(qmp, host, { signal: AbortSignal.timeout(CLEAR_TIMEOUT_MS), doomed }).catch(() => {})
    throw error
  }
}

async function expectNoSession(qmp: QmpClient, vm: SourceVm, options: CallOptions): Promise<void> {
  const nodes = (await queryNodes(qmp, options)).map(({ nodeName }) => nodeName)
  const found = [...(await queryExports(qmp, options)), ...(await queryJobs(qmp, options)), ...nodes].find(isOurs)
  if (found === undefined) return
  throw new PlatformError('source.busy', `another backup of ${vm.name} is open or was left behind: ${found}`, {
    details: { platformRef: vm.platformRef },
  })
}

function planDisks(host: KvmVm, nodes: readonly NodeState[], request: BackupRequest, names: SessionNames): DiskPlan[] {
  return host.config.disks.map(({ diskId, format }, index) => {
    const node = nodes.find(({ nodeName }) => nodeName === diskId)
    if (node === undefined) {
      throw new PlatformError('source.disk_unsupported', `QEMU of ${host.config.name} has no disk ${diskId}`)
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
async function addOverlay(qmp: QmpClient, plan: DiskPlan, { signal }: CallOptions): Promise<void> {
  const { node, scratchFile } = plan.names
  await rm(scratchFile, { force: true })
  await createQcow2Image({ path: scratchFile, sizeBytes: plan.sizeBytes }, { signal })
  const overlay = {
    'driver': 'qcow2',
    'node-name': node,
    'backing': plan.diskId,
    'file': { driver: 'file', filename: scratchFile },
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
  qmp: QmpClient,
  { host, request, clock }: SessionParts,
  actions: ReturnType<typeof instantActions>,
  { signal }: CallOptions,
) {
  const instant = async (timeoutMs: number): Promise<Date> => {
    await qmp.execute('transaction', { actions }, z.unknown(), { signal, timeoutMs })
    return clock.now()
  }
  if (request.quiesce && (await isGuestAgentConnected(qmp, { signal }))) {
    const { value, consistency } = await withFrozenGuest(host.guestAgentSocket, instant, { signal })
    return { takenAt: value, consistency }
  }
  return { takenAt: await instant(TRANSACTION_TIMEOUT_MS), consistency: 'crash' as const }
}

async function exportDisks(
  qmp: QmpClient,
  host: KvmVm,
  plans: readonly DiskPlan[],
  names: SessionNames,
  { signal }: CallOptions,
): Promise<void> {
  const addr = { type: 'unix', data: { path: host.nbdSocket } }
  await qmp.execute('nbd-server-start', { addr }, z.unknown(), { signal })
  for (const { diskId, baseBitmap, names: own } of plans) {
    const bitmaps = baseBitmap === undefined ? {} : { bitmaps: [{ node: diskId, name: names.frozenBitmap }] }
    const options = { 'type': 'nbd', 'id': own.export, 'node-name': own.node, 'name': diskId, ...bitmaps }
    await qmp.execute('block-export-add', options, z.unknown(), { signal })
  }
}

function frozenDisk(host: KvmVm, plan: DiskPlan, names: SessionNames): FrozenDisk {
  const { diskId, sizeBytes, mode, reason, tracks, baseBitmap } = plan
  const dirty = baseBitmap === undefined ? {} : { dirtyContext: `qemu:dirty-bitmap:${names.frozenBitmap}` }
  const address = { transport: 'unix' as const, path: host.nbdSocket }
  const source = lazyNbdSource({ endpoint: { kind: 'nbd', address, exportName: diskId, ...dirty }, sizeBytes })
  const token = { diskId, sizeBytes, checkpoint: names.bitmap, granularityBytes: GRANULARITY_BYTES }
  return { diskId, sizeBytes, mode, reason, source, ...(tracks ? { token } : {}) }
}
