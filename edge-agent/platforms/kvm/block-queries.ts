import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import type { CallOptions } from '../../block/block-source.ts'
import type { GuestQueue } from '../../mover/hang-watch.ts'
import type { GuestIoCounters } from '../../mover/latency-guard.ts'
import type { QmpConnection } from '../../qemu/qmp-connection.ts'

/** QEMU QMP Reference, "BlockDirtyInfo"; bitmaps without a name are QEMU's own. */
const DirtyBitmap = z.object({
  name: z.string().optional(),
  recording: z.boolean(),
  persistent: z.boolean(),
  inconsistent: z.boolean().default(false),
  granularity: z.int().positive(),
})

const BlockNode = z.object({
  'node-name': z.string(),
  'image': z.object({ 'virtual-size': z.int().nonnegative() }),
  'dirty-bitmaps': z.array(DirtyBitmap).default([]),
})

export interface BitmapState {
  readonly name: string
  readonly granularityBytes: number
  /** Recording, and nothing was missed. */
  readonly intact: boolean
}

export interface NodeState {
  readonly nodeName: string
  readonly sizeBytes: number
  readonly bitmaps: readonly BitmapState[]
}

/** Every named node of the block graph. */
export async function queryNodes(qmp: QmpConnection, options: CallOptions): Promise<NodeState[]> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true }, z.array(BlockNode), options)
  return nodes.map((node) => ({
    nodeName: node['node-name'],
    sizeBytes: node.image['virtual-size'],
    bitmaps: node['dirty-bitmaps'].flatMap(({ name, granularity, recording, inconsistent }) =>
      name === undefined ? [] : [{ name, granularityBytes: granularity, intact: recording && !inconsistent }],
    ),
  }))
}

/** Ids of all exports. */
export async function queryExports(qmp: QmpConnection, options: CallOptions): Promise<string[]> {
  return (await qmp.execute('query-block-exports', {}, z.array(z.object({ id: z.string() })), options)).map(
    ({ id }) => id,
  )
}

/** Ids of all jobs that are not over. */
export async function queryJobs(qmp: QmpConnection, options: CallOptions): Promise<string[]> {
  return (await qmp.execute('query-jobs', {}, z.array(z.object({ id: z.string() })), options)).map(({ id }) => id)
}

/** Whether a guest agent has its end of the channel open. It may still be too busy to answer. */
export async function isGuestAgentConnected(qmp: QmpConnection, options: CallOptions): Promise<boolean> {
  const Chardev = z.object({ 'label': z.string(), 'frontend-open': z.boolean() })
  const chardevs = await qmp.execute('query-chardev', {}, z.array(Chardev), options)
  return chardevs.some((chardev) => chardev.label === 'guest-agent' && chardev['frontend-open'])
}

/** QEMU QMP Reference, "RunState". */
export async function queryPowerState(
  qmp: QmpConnection,
  options: CallOptions,
): Promise<'running' | 'stopped' | 'paused'> {
  const { status } = await qmp.execute('query-status', {}, z.object({ status: z.string() }), options)
  if (status === 'running') return 'running'
  return status === 'shutdown' || status === 'guest-panicked' ? 'stopped' : 'paused'
}

/** QEMU QMP Reference, "BlockStats": devices of a guest have a `qdev`; exports and jobs have none. */
const DeviceStats = z.object({
  qdev: z.string().optional(),
  stats: z.object({
    rd_operations: z.int().nonnegative(),
    wr_operations: z.int().nonnegative(),
    rd_total_time_ns: z.int().nonnegative(),
    wr_total_time_ns: z.int().nonnegative(),
  }),
})

/**
 * Reads and writes of the guest on all its disks since QEMU was started, the time they took, and, where QEMU can tell, what is
 * under way.
 */
export async function queryGuestIo(qmp: QmpConnection, options: CallOptions): Promise<GuestIoCounters> {
  const devices = await qmp.execute('query-blockstats', {}, z.array(DeviceStats), options)
  let operations = 0
  let totalTimeNs = 0
  for (const { qdev, stats } of devices) {
    if (qdev === undefined) continue
    operations += stats.rd_operations + stats.wr_operations
    totalTimeNs += stats.rd_total_time_ns + stats.wr_total_time_ns
  }
  const queues = await queryQueues(qmp, options)
  return { operations, totalTimeNs, ...(queues === undefined ? {} : { queues }) }
}

const VirtioDevice = z.object({ name: z.string(), path: z.string() })
/** QEMU QMP Reference, "VirtQueueStatus"; `used-idx` counts what was completed, in 16 bits. */
const QueueStatus = z.object({ 'inuse': z.int().nonnegative(), 'used-idx': z.int().nonnegative() })
/** Disks behind a controller of virtio share its queues. */
const DISK_DEVICES: ReadonlySet<string> = new Set(['virtio-blk', 'virtio-scsi'])
const QUEUES_MAX = 64

/** The queues that the guest's disks are asked through. Undefined: QEMU before 7.2 does not tell. */
async function queryQueues(qmp: QmpConnection, options: CallOptions): Promise<GuestQueue[] | undefined> {
  try {
    const devices = await qmp.execute('x-query-virtio', {}, z.array(VirtioDevice), options)
    const queues: GuestQueue[] = []
    for (const { name, path } of devices)
      if (DISK_DEVICES.has(name)) queues.push(...(await queuesOf(qmp, path, options)))
    return queues
  } catch (error) {
    if (isPlatformError(error, 'qemu.command_failed')) return undefined
    throw error
  }
}

/** Up to the first queue that the device does not have. */
async function queuesOf(qmp: QmpConnection, path: string, options: CallOptions): Promise<GuestQueue[]> {
  const queues: GuestQueue[] = []
  try {
    while (queues.length < QUEUES_MAX) {
      const queue = queues.length
      const status = await qmp.execute('x-query-virtio-queue-status', { path, queue }, QueueStatus, options)
      queues.push({ name: `${path} ${queue}`, underWayCount: status.inuse, completedMark: status['used-idx'] })
    }
  } catch (error) {
    if (!isPlatformError(error, 'qemu.command_failed')) throw error
  }
  return queues
}
