import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import { contest, factsOf, peakBytesOf, ratio, secondsOf } from '../contest.ts'
import { writeMixedImage } from './mixed-image.ts'
import { OwnBackups } from './own-backups.ts'
import { createOwnRepository, emptyDirectoryStore } from './own-repository.ts'
import { CHUNK_SIZE_BYTES, type RepositoryBench, ROUNDS } from './repository-bench.ts'
import { openRestic } from './restic.ts'

const MIB = 1024 ** 2
const JOBS = 50
const SIZE_BYTES = 64 * MIB
const DATA_BYTES = 32 * MIB

/** Fifty disks of 64 MiB with 32 MiB of data each, at once into one repository; restic takes them one after the other. */
export async function measureSmallJobs({ dir, mover, report, signal }: RepositoryBench): Promise<void> {
  const call = { signal }
  await using servers = new AsyncDisposableStack()
  const images: string[] = []
  const endpoints: Awaited<ReturnType<typeof startNbdkit>>['endpoint'][] = []
  await mkdir(join(dir, 'images'))
  for (let job = 0; job < JOBS; job += 1) {
    const path = join(dir, 'images', `${job}.img`)
    await writeMixedImage(path, { sizeBytes: SIZE_BYTES, dataBytes: DATA_BYTES, randomShare: 0.5, seed: job })
    images.push(path)
    endpoints.push(servers.use(await startNbdkit(['--readonly', 'file', path])).endpoint)
  }
  const restic = await openRestic(dir, images[0] ?? '')
  const directory = join(dir, 'own')
  const backUpAll = async (): Promise<void> => {
    const storeConfig = await emptyDirectoryStore(directory, call)
    const settings = { chunkSizeBytes: CHUNK_SIZE_BYTES, compression: 'balanced' } as const
    await using repository = await createOwnRepository({ storeConfig, ...settings }, call)
    await Promise.all(
      endpoints.map(async (endpoint) => await new OwnBackups(repository, mover).backUp(endpoint, 'full', call)),
    )
  }
  const usages = await contest(
    [
      {
        name: 'restic',
        prepare: async () => await restic.create(),
        run: async () => void (await restic.backUpAll(images)),
      },
      { name: 'sendense', run: backUpAll, contenders: { self: true } },
    ],
    ROUNDS,
  )
  for (const name of usages.keys()) {
    const facts = factsOf(usages, name, { dataBytes: JOBS * DATA_BYTES, sizeBytes: JOBS * SIZE_BYTES })
    report.measured({ name: `${JOBS} small jobs, ${name}`, seconds: secondsOf(usages, name) }, facts)
  }
  report.figure('fifty_jobs_vs_restic', ratio(usages, 'restic', 'sendense'))
  report.figure('fifty_jobs_peak_mib', peakBytesOf(usages, 'sendense') / MIB)
}
