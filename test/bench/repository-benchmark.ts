import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import { BenchReport } from './bench-report.ts'
import { OwnBackups } from './repository/own-backups.ts'
import { createBenchMover, createOwnRepository, emptyDirectoryStore } from './repository/own-repository.ts'
import { CHUNK_SIZE_BYTES, type RepositoryBench } from './repository/repository-bench.ts'
import { measureRoundTrip } from './repository/round-trip.ts'
import { measureSmallJobs } from './repository/small-jobs.ts'
import { measureWholeDisk } from './repository/whole-disk.ts'
import { roomyDir } from './roomy-dir.ts'

const GIB = 1024 ** 3

/**
 * `npm run bench:repository [whole-disk|small-jobs|round-trip …]`: the chunk repository against restic and borg on the same
 * images in the same run, medians of three rounds. JSON lines; the last one has the figures of the parts that ran.
 */
const PARTS = {
  'whole-disk': measureWholeDisk,
  'small-jobs': measureSmallJobs,
  'round-trip': measureRoundTrip,
} as const

const wanted = process.argv.slice(2)
const unknown = wanted.find((name) => !Object.hasOwn(PARTS, name))
if (unknown !== undefined) throw new Error(`unknown part ${unknown}; there are ${Object.keys(PARTS).join(', ')}`)

const report = new BenchReport('repository')
const dir = await mkdtemp(join(await roomyDir(16 * GIB), 'sendense-bench-'))
try {
  await using mover = createBenchMover()
  const { signal } = new AbortController()
  await warmUp({ dir: join(dir, 'warm-up'), mover, report, signal })
  for (const [name, measure] of Object.entries(PARTS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue
    const partDir = join(dir, name)
    await mkdir(partDir)
    await measure({ dir: partDir, mover, report, signal })
    await rm(partDir, { recursive: true, force: true })
  }
} finally {
  await rm(dir, { recursive: true, force: true })
}
report.end()

/** Starts the threads and has them load what they need. */
async function warmUp({ dir: place, mover, signal }: RepositoryBench): Promise<void> {
  const storeConfig = await emptyDirectoryStore(place, { signal })
  const settings = { chunkSizeBytes: CHUNK_SIZE_BYTES, compression: 'balanced' } as const
  await using repository = await createOwnRepository({ storeConfig, ...settings }, { signal })
  await using disk = await startNbdkit(['memory', '1G'])
  await new OwnBackups(repository, mover).backUp(disk.endpoint, 'full', { signal })
}
