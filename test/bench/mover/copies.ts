import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { NbdEndpoint } from '@sendense/edge-agent/block/block-endpoint.ts'
import { openNbdSink } from '@sendense/edge-agent/nbd/client/nbd-sink.ts'
import { openNbdSource } from '@sendense/edge-agent/nbd/client/nbd-source.ts'
import { startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import { contest, cpuSecondsPerGib, factsOf, ratio } from '../contest.ts'
import { writeSeededImage } from '../seeded-image.ts'
import { copyIntoNewQcow2 } from './copy-into-qcow2.ts'
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
  const contenders = { self: true }
  const usages = await contest(
    [
      { name: 'nbdcopy to null', run: async () => await runPeer('nbdcopy', [source, 'null:']) },
      { name: 'sendense to null', contenders, run: async () => await copy({}) },
      { name: 'nbdcopy to nbd', run: async () => await runPeer('nbdcopy', [source, nbdUri(memory.endpoint)]) },
      { name: 'sendense to nbd', contenders, run: async () => await copy({ to: memory.endpoint }) },
      { name: 'qemu-img to qcow2', prepare: removeImages, run: convert },
      { name: 'sendense to qcow2', contenders, prepare: removeImages, run: copyIntoQcow2 },
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
    const target = { path: qcow2, sizeBytes: SIZE_BYTES, runtimeDir: dir }
    await copyIntoNewQcow2(target, async (to) => await copy({ to, isZero: true }), { signal })
  }

  for (const [name, rounds] of usages) {
    const seconds = rounds.map((round) => round.seconds)
    report.measured({ name, seconds }, factsOf(usages, name, { dataBytes, sizeBytes: SIZE_BYTES }))
  }
  report.figure('nbd_to_null_vs_nbdcopy', ratio(usages, 'nbdcopy to null', 'sendense to null'))
  report.figure('nbd_to_nbd_vs_nbdcopy', ratio(usages, 'nbdcopy to nbd', 'sendense to nbd'))
  report.figure('qcow2_vs_qemu_img', ratio(usages, 'qemu-img to qcow2', 'sendense to qcow2'))
  report.figure('cpu_s_per_gib', cpuSecondsPerGib(usages, 'sendense to nbd', dataBytes))
}
