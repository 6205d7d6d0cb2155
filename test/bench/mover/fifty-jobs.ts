import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { openNbdSource } from '@sendense/edge-agent/nbd/client/nbd-source.ts'
import { startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import { contest, ratio } from '../contest.ts'
import { withMemoryPeak } from '../memory-peak.ts'
import { writeSeededImage } from '../seeded-image.ts'
import { type MoverBench, ROUNDS } from './mover-bench.ts'

const MIB = 1024 ** 2
const DISKS = 50
const DISK_BYTES = 64 * MIB
const JOB_COUNTS = [1, 4, DISKS]

/** The same 50 disks to nowhere, one after the other, 4 at once and all 50 at once. */
export async function measureFiftyJobs({ dir, mover, report, signal }: MoverBench): Promise<void> {
  await mkdir(join(dir, 'disks'))
  const names = Array.from({ length: DISKS }, (_, index) => `disk${index}`)
  for (const [seed, name] of names.entries()) {
    await writeSeededImage(join(dir, 'disks', name), { sizeBytes: DISK_BYTES, dataShare: 1, seed: seed + 100 })
  }
  await using server = await startNbdkit(['--readonly', 'file', `dir=${join(dir, 'disks')}`])
  let peakBytes = 0
  const copyAll = async (jobs: number): Promise<void> => {
    const left = [...names]
    const work = async (): Promise<void> => {
      for (let name = left.pop(); name !== undefined; name = left.pop()) {
        await using source = await openNbdSource({ ...server.endpoint, exportName: name }, { signal })
        await mover.copyDisk({ source }, { signal })
      }
    }
    const all = async (): Promise<void> => {
      await Promise.all(Array.from({ length: jobs }, work))
    }
    if (jobs === DISKS) peakBytes = Math.max(peakBytes, await withMemoryPeak(all))
    else await all()
  }
  const seconds = await contest(
    JOB_COUNTS.map((jobs) => ({ name: `${jobs} jobs`, run: async () => await copyAll(jobs) })),
    ROUNDS,
  )
  for (const [name, list] of seconds) report.measured({ name, seconds: list }, { bytes: DISKS * DISK_BYTES })
  report.figure('fifty_jobs_vs_one', ratio(seconds, '1 jobs', `${DISKS} jobs`))
  report.figure('fifty_jobs_peak_mib', peakBytes / MIB)
}
