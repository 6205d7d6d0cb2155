import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { NbdEndpoint } from '@sendense/edge-agent/block/block-endpoint.ts'
import { lazyNbdSink, lazyNbdSource } from '@sendense/edge-agent/nbd/client/lazy-nbd-disk.ts'
import { type RealServer, startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import { contest, factsOf, peakBytesOf, ratio } from '../contest.ts'
import type { Contenders } from '../resource-usage.ts'
import { writeSeededImage } from '../seeded-image.ts'
import { openOpenSshTunnel, openOurTunnel } from '../tunnel-sides.ts'
import { copyIntoNewQcow2 } from './copy-into-qcow2.ts'
import type { MoverBench } from './mover-bench.ts'
import { nbdUri, runPeer } from './peers.ts'

const MIB = 1024 ** 2
const DISKS = 50
const JOB_COUNTS = [1, 4, DISKS]
/** To nowhere a disk is done soon; the other ways take only its first half. */
const DISK_BYTES = 64 * MIB
const SHORT_DISK_BYTES = 32 * MIB
/** As a backup is whose disks are behind a tunnel. */
const PATIENT = { forMs: 120_000, attemptsMax: 30 }
const COUNTED_ROUNDS = 1

/** One disk's copy; `lane` is one of the jobs at once, which come one after the other on it. */
type CopyDisk = (disk: string, lane: number) => Promise<void>

interface Side {
  readonly name: string
  readonly copy: CopyDisk
  readonly contenders?: Contenders
}

/** One way of disks, ours beside a peer's. */
interface Route {
  /** Begins the names of its figures. */
  readonly name: string
  readonly dataBytes: number
  readonly ours: Side
  readonly peer: Side
}

/** 50 disks to nowhere, to nbdkit's memory, into QCOW2 and through a tunnel: one after the other, 4 at once, all at once. */
export async function measureManyJobs(bench: MoverBench): Promise<void> {
  const { dir, signal } = bench
  const disksDir = join(dir, 'disks')
  await mkdir(disksDir)
  for (let index = 0; index < DISKS; index += 1) {
    const options = { sizeBytes: DISK_BYTES, dataShare: 1, seed: index + 100 }
    await writeSeededImage(join(disksDir, diskName(index)), options)
  }
  await using whole = await startNbdkit(['--readonly', 'file', `dir=${disksDir}`])
  await using short = await startNbdkit([
    '--readonly',
    '--filter=truncate',
    'file',
    `dir=${disksDir}`,
    `truncate=${SHORT_DISK_BYTES}`,
  ])
  await contestRoute(bench, toNowhere(bench, whole))
  {
    await using stack = new AsyncDisposableStack()
    await contestRoute(bench, await intoMemory(bench, short, stack))
  }
  await contestRoute(bench, intoQcow2(bench, short))
  {
    await using stack = new AsyncDisposableStack()
    await contestRoute(bench, await throughTunnel(bench, short, stack))
  }
  signal.throwIfAborted()
}

async function contestRoute({ report }: MoverBench, { name, dataBytes, ours, peer }: Route): Promise<void> {
  const contestants = JOB_COUNTS.flatMap((jobs) =>
    [ours, peer].map((side) => ({
      name: `${name}, ${side.name}, jobs at once: ${jobs}`,
      run: async () => await copyAll(side.copy, jobs),
      ...(side.contenders === undefined ? {} : { contenders: side.contenders }),
    })),
  )
  const usages = await contest(contestants, COUNTED_ROUNDS)
  const nameOf = (side: Side, jobs: number): string => `${name}, ${side.name}, jobs at once: ${jobs}`
  for (const [contestant, rounds] of usages) {
    report.measured(
      { name: contestant, seconds: rounds.map(({ seconds }) => seconds) },
      factsOf(usages, contestant, { dataBytes }),
    )
  }
  const prefix = name === 'null' ? '' : `${name}_`
  for (const [jobs, words] of [
    [4, 'four_jobs'],
    [DISKS, 'fifty_jobs'],
  ] as const) {
    report.figure(`${prefix}${words}_vs_${peer.name}`, ratio(usages, nameOf(peer, jobs), nameOf(ours, jobs)))
  }
  report.figure(`${prefix}fifty_jobs_vs_one`, ratio(usages, nameOf(ours, 1), nameOf(ours, DISKS)))
  report.figure(`${prefix}fifty_jobs_peak_mib`, peakBytesOf(usages, nameOf(ours, DISKS)) / MIB)
}

async function copyAll(copy: CopyDisk, jobs: number): Promise<void> {
  const left = Array.from({ length: DISKS }, (_, index) => diskName(index))
  const work = async (lane: number): Promise<void> => {
    for (let disk = left.pop(); disk !== undefined; disk = left.pop()) await copy(disk, lane)
  }
  await Promise.all(Array.from({ length: jobs }, async (_, lane) => await work(lane)))
}

function toNowhere(bench: MoverBench, { endpoint }: RealServer): Route {
  return {
    name: 'null',
    dataBytes: DISKS * DISK_BYTES,
    ours: {
      name: 'sendense',
      contenders: { self: true },
      copy: async (disk) => await copyDisk(bench, { from: endpoint, disk, sizeBytes: DISK_BYTES }),
    },
    peer: { name: 'nbdcopy', copy: async (disk) => await nbdcopy(endpoint, disk, 'null:') },
  }
}

async function intoMemory(bench: MoverBench, { endpoint }: RealServer, stack: AsyncDisposableStack): Promise<Route> {
  const targets: NbdEndpoint[] = []
  for (let lane = 0; lane < DISKS; lane += 1) {
    targets.push(stack.use(await startNbdkit(['memory', String(SHORT_DISK_BYTES)])).endpoint)
  }
  const targetOf = (lane: number): NbdEndpoint => {
    const target = targets[lane]
    if (target === undefined) throw new Error(`there is no lane ${lane}`)
    return target
  }
  return {
    name: 'nbd',
    dataBytes: DISKS * SHORT_DISK_BYTES,
    ours: {
      name: 'sendense',
      contenders: { self: true },
      copy: async (disk, lane) =>
        await copyDisk(bench, { from: endpoint, disk, sizeBytes: SHORT_DISK_BYTES, to: targetOf(lane) }),
    },
    peer: { name: 'nbdcopy', copy: async (disk, lane) => await nbdcopy(endpoint, disk, nbdUri(targetOf(lane))) },
  }
}

/** Each job makes an image with a storage daemon of its own, as a backup does, and `qemu-img` likewise in one process. */
function intoQcow2(bench: MoverBench, { endpoint }: RealServer): Route {
  const { dir, signal } = bench
  const fresh = async (lane: number): Promise<string> => {
    const image = join(dir, `target-${lane}.qcow2`)
    await rm(image, { force: true })
    return image
  }
  return {
    name: 'qcow2',
    dataBytes: DISKS * SHORT_DISK_BYTES,
    ours: {
      name: 'sendense',
      contenders: { self: true },
      copy: async (disk, lane) => {
        const image = { path: await fresh(lane), sizeBytes: SHORT_DISK_BYTES, runtimeDir: dir }
        const task = { from: endpoint, disk, sizeBytes: SHORT_DISK_BYTES, sinkIsZero: true }
        await copyIntoNewQcow2(image, async (to) => await copyDisk(bench, { ...task, to }), { signal })
      },
    },
    peer: {
      name: 'qemu_img',
      copy: async (disk, lane) => {
        const source = nbdUri({ ...endpoint, exportName: disk })
        const image = await fresh(lane)
        await runPeer('qemu-img', ['convert', '-W', '-m', '16', '-f', 'raw', '-O', 'qcow2', source, image])
      },
    },
  }
}

/** Read through one tunnel, to nowhere: from the capture side to the agent, as backups are. */
async function throughTunnel(bench: MoverBench, served: RealServer, stack: AsyncDisposableStack): Promise<Route> {
  const { dir, signal } = bench
  const { address } = served.endpoint
  if (address.transport !== 'unix') throw new Error('the disks are on a unix socket')
  const ours = await openOurTunnel({ directory: dir, service: address.path, tunnels: 1, signal }, stack)
  const theirs = await openOpenSshTunnel({ directory: dir, service: address.path }, stack)
  const through = (path: string): NbdEndpoint => ({ ...served.endpoint, address: { transport: 'unix', path } })
  return {
    name: 'tunnel',
    dataBytes: DISKS * SHORT_DISK_BYTES,
    ours: {
      name: 'sendense',
      contenders: { self: true, pids: ours.pids },
      copy: async (disk) =>
        await copyDisk(bench, {
          from: { ...through(ours.forwarded), reconnect: PATIENT },
          disk,
          sizeBytes: SHORT_DISK_BYTES,
        }),
    },
    peer: {
      name: 'openssh',
      contenders: { pids: theirs.pids() },
      copy: async (disk) => await nbdcopy(through(theirs.forwarded), disk, 'null:'),
    },
  }
}

interface DiskCopy {
  readonly from: NbdEndpoint
  readonly disk: string
  readonly sizeBytes: number
  /** Absent: nowhere. */
  readonly to?: NbdEndpoint
  readonly sinkIsZero?: boolean
}

/** As backups do: only the mover's thread connects. */
async function copyDisk(
  { mover, signal }: MoverBench,
  { from, disk, sizeBytes, to, sinkIsZero = false }: DiskCopy,
): Promise<void> {
  await using source = lazyNbdSource({ endpoint: { ...from, exportName: disk }, sizeBytes })
  await using sink = to === undefined ? undefined : lazyNbdSink({ endpoint: to, sizeBytes })
  await mover.copyDisk({ source, ...(sink === undefined ? {} : { sink, sinkIsZero }) }, { signal })
}

async function nbdcopy(from: NbdEndpoint, disk: string, target: string): Promise<void> {
  await runPeer('nbdcopy', [nbdUri({ ...from, exportName: disk }), target])
}

function diskName(index: number): string {
  return `disk${index}`
}
