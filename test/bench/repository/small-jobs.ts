import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import { measureOwn } from '../own-usage.ts'
import { usageContest } from '../usage-contest.ts'
import { writeMixedImage } from './mixed-image.ts'
import { OwnBackups } from './own-backups.ts'
import { createOwnRepository, emptyDirectoryStore } from './own-repository.ts'
import { CHUNK_SIZE_BYTES, type RepositoryBench } from './repository-bench.ts'
import { openRestic } from './restic.ts'

const MIB = 1024 ** 2
const JOBS = 50
const ROUNDS = 3

/** Fifty disks of 64 MiB with 32 MiB of data each, at once into one repository; restic takes them one after the other. */
export async function measureSmallJobs({ dir, mover, report, signal }: RepositoryBench): Promise<void> {
  const call = { signal }
  await using servers = new AsyncDisposableStack()
  const images: string[] = []
  const endpoints: Awaited<ReturnType<typeof startNbdkit>>['endpoint'][] = []
  await mkdir(join(dir, 'images'))
  for (let job = 0; job < JOBS; job += 1) {
    const path = join(dir, 'images', `${job}.img`)
    await writeMixedImage(path, { sizeBytes: 64 * MIB, dataBytes: 32 * MIB, randomShare: 0.5, seed: job })
    images.push(path)
    endpoints.push(servers.use(await startNbdkit(['--readonly', 'file', path])).endpoint)
  }
  const restic = await openRestic(dir, images[0] ?? '')
  const usages = await usageContest(
    [
      { name: 'restic', prepare: async () => await restic.create(), run: async () => await restic.backUpAll(images) },
      {
        name: 'sendense',
        run: async () => {
          const storeConfig = await emptyDirectoryStore(join(dir, 'own'), call)
          const settings = { chunkSizeBytes: CHUNK_SIZE_BYTES, compression: 'balanced' } as const
          await using repository = await createOwnRepository({ storeConfig, ...settings }, call)
          return await measureOwn(async () => {
            await Promise.all(
              endpoints.map(async (endpoint) => await new OwnBackups(repository, mover).backUp(endpoint, 'full', call)),
            )
          })
        },
      },
    ],
    ROUNDS,
  )
  for (const name of usages.names()) {
    const facts = { cpuSeconds: usages.median(name, 'cpuSeconds'), peakMib: usages.median(name, 'peakBytes') / MIB }
    report.measured({ name: `${JOBS} small jobs, ${name}`, seconds: usages.seconds(name) }, facts)
  }
  report.figure('fifty_jobs_vs_restic', usages.ratio('restic', 'sendense'))
  report.figure('fifty_jobs_peak_mib', usages.median('sendense', 'peakBytes') / MIB)
}
