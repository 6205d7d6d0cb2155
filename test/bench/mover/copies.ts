import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import type { NbdEndpoint } from '@sendense/edge-agent/block/block-endpoint.ts'
import { openNbdSink } from '@sendense/edge-agent/nbd/client/nbd-sink.ts'
import { openNbdSource } from '@sendense/edge-agent/nbd/client/nbd-source.ts'
import { startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import { createQcow2Image } from '@sendense/edge-agent/qemu/qemu-img.ts'
import { startStorageDaemon } from '@sendense/edge-agent/qemu/storage-daemon.ts'
import { NEW_LAYER_IO_THREADS } from '@sendense/edge-agent/repository/qcow2-chain/layer-graph.ts'
import { median } from '../bench-report.ts'
import { contest, ratio, secondsOf } from '../contest.ts'
import { writeSeededImage } from '../seeded-image.ts'
import { type MoverBench, ROUNDS } from './mover-bench.ts'
import { nbdUri, runPeer } from './peers.ts'

const GIB = 1024 ** 3
const SIZE_BYTES = 4 * GIB
const DATA_SHARE = 0.5625

/** One disk of 4 GiB with 2.25 GiB of data, from nbdkit: to nowhere, to nbdkit's memory, into QCOW2. */
export async function measureCopies(bench: MoverBench): Promise<void> {
  const { dir, report, mover, signal } = bench
  const image = join(dir, 'source.img')
  const qcow2 = join(dir, 'target.qcow2')
  const dataBytes = await writeSeededImage(image, { sizeBytes: SIZE_BYTES, dataShare: DATA_SHARE, seed: 1 })
  await using from = await startNbdkit(['--readonly', 'file', image])
  await using memory = await startNbdkit(['memory', String(SIZE_BYTES)])
  const source = nbdUri(from.endpoint)
  const cpu = new CpuMeter()
  const seconds = await contest(
    [
      { name: 'nbdcopy to null', run: async () => await runPeer('nbdcopy', [source, 'null:']) },
      { name: 'sendense to null', run: async () => await copy({}) },
      { name: 'nbdcopy to nbd', run: async () => await runPeer('nbdcopy', [source, nbdUri(memory.endpoint)]) },
      { name: 'sendense to nbd', run: async () => await cpu.during(async () => await copy({ to: memory.endpoint })) },
      { name: 'qemu-img to qcow2', prepare: removeImages, run: convert },
      { name: 'sendense to qcow2', prepare: removeImages, run: copyIntoQcow2 },
    ],
    ROUNDS,
  )

  async function copy({ to, isZero = false }: { readonly to?: NbdEndpoint; readonly isZero?: boolean }): Promise<void> {
    await using opened = await openNbdSource(from.endpoint, { signal })
    await using sink = to === undefined ? undefined : await openNbdSink(to, { signal })
    const target = sink === undefined ? {} : { sink, sinkIsZero: isZero }
    await mover.copyDisk({ source: opened, ...target }, { signal })
  }

  async function removeImages(): Promise<void> {
    await rm(qcow2, { force: true })
  }

  async function convert(): Promise<void> {
    await runPeer('qemu-img', ['convert', '-W', '-m', '16', '-f', 'raw', '-O', 'qcow2', source, qcow2])
  }

  async function copyIntoQcow2(): Promise<void> {
    await createQcow2Image({ path: qcow2, sizeBytes: SIZE_BYTES }, { signal })
    const node = {
      'driver': 'qcow2',
      'node-name': 'disk',
      'discard': 'unmap',
      'file': { driver: 'file', filename: qcow2 },
    }
    const exported = { name: 'disk', nodeName: 'disk', writable: true }
    // As a full backup's daemon is started.
    const options = { runtimeDir: dir, nodes: [node], exports: [exported], ioThreadsMax: NEW_LAYER_IO_THREADS }
    await using daemon = await startStorageDaemon(options, { signal })
    await copy({ to: daemon.endpoint('disk'), isZero: true })
    await daemon.stop({ signal })
  }

  for (const [name, list] of seconds) {
    const middle = median(list)
    report.measured(
      { name, seconds: list },
      {
        rawGibPerSecond: Number((dataBytes / GIB / middle).toFixed(3)),
        effectiveGibPerSecond: Number((SIZE_BYTES / GIB / middle).toFixed(3)),
      },
    )
  }
  report.figure('nbd_to_null_vs_nbdcopy', ratio(seconds, 'nbdcopy to null', 'sendense to null'))
  report.figure('nbd_to_nbd_vs_nbdcopy', ratio(seconds, 'nbdcopy to nbd', 'sendense to nbd'))
  report.figure('qcow2_vs_qemu_img', ratio(seconds, 'qemu-img to qcow2', 'sendense to qcow2'))
  report.figure('cpu_s_per_gib', cpu.seconds / (secondsOf(seconds, 'sendense to nbd').length + 1) / (dataBytes / GIB))
}

/** CPU seconds of this process, all its threads, user and system. */
class CpuMeter {
  seconds = 0

  async during(work: () => Promise<void>): Promise<void> {
    const before = process.cpuUsage()
    await work()
    const { user, system } = process.cpuUsage(before)
    this.seconds += (user + system) / 1e6
  }
}
