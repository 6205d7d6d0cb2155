import { join } from 'node:path'
import { startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import { parseStoreConfig } from '@sendense/edge-agent/object-store/object-store-config.ts'
import { startS3Double } from '../../doubles/s3/s3-double.ts'
import { contest, factsOf, ratio, secondsOf } from '../contest.ts'
import { writeMixedImage } from './mixed-image.ts'
import { OwnBackups } from './own-backups.ts'
import { createOwnRepository } from './own-repository.ts'
import { CHUNK_SIZE_BYTES, type RepositoryBench, ROUNDS } from './repository-bench.ts'

const MIB = 1024 ** 2
const ROUND_TRIP_MS = 150
const IMAGE = { sizeBytes: 2048 * MIB, dataBytes: 1024 * MIB, randomShare: 0.25, seed: 7 }

/** The same disk to an S3 server nearby and to one whose every answer takes 150 ms longer, and back. */
export async function measureRoundTrip({ dir, mover, report, signal }: RepositoryBench): Promise<void> {
  const call = { signal }
  const image = join(dir, 'disk.img')
  await writeMixedImage(image, IMAGE)
  await using source = await startNbdkit(['--readonly', 'file', image])
  const connections = new Map<string, number>()

  const contestants = [0, ROUND_TRIP_MS].map((latencyMs) => {
    const name = `${latencyMs} ms`
    return { name, run: async () => await backUpAndRestore(name, latencyMs), contenders: { self: true } }
  })
  async function backUpAndRestore(name: string, latencyMs: number): Promise<void> {
    await using server = await startS3Double({ latencyMs })
    const { endpoint, credentials, region } = server
    const bucket = server.createBucket({})
    const storeConfig = parseStoreConfig({ kind: 's3', endpoint, bucket, region, credentials })
    const settings = { chunkSizeBytes: CHUNK_SIZE_BYTES, compression: 'balanced' } as const
    await using repository = await createOwnRepository({ storeConfig, ...settings }, call)
    const own = new OwnBackups(repository, mover)
    await own.backUp(source.endpoint, 'full', call)
    await own.restore(undefined, call)
    connections.set(name, Math.max(connections.get(name) ?? 0, server.connectionCount()))
  }

  const usages = await contest(contestants, ROUNDS)
  for (const name of usages.keys()) {
    const facts = { ...factsOf(usages, name, IMAGE), connections: connections.get(name) ?? 0 }
    report.measured({ name: `to S3 and back, ${name}`, seconds: secondsOf(usages, name) }, facts)
  }
  report.figure('round_trip_150ms_share', ratio(usages, '0 ms', '150 ms'))
  report.figure('round_trip_150ms_connections', connections.get('150 ms') ?? 0)
}
