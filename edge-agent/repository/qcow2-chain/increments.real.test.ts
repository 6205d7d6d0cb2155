import { randomInt, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { BlockSink } from '../../block/block-sink.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { NbdSink } from '../../nbd/client/nbd-sink.ts'
import { backUp, restoreAll } from '../repository-scenario.ts'
import { BITMAP_GRANULARITY_BYTES, makeChangingImage } from './changing-image.ts'
import { makeTemporaryRepository } from './temporary-repository.ts'

const SECTOR_BYTES = 512
const CLUSTER_BYTES = 64 * 1024
const DISK_BYTES = 6 * 1024 * 1024 + 7 * SECTOR_BYTES
const INCREMENTS = 5

interface Change {
  readonly kind: 'write' | 'write-zeroes' | 'trim'
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly fill: number
}

test('the full and each of five increments restore the source byte for byte, whatever was written, zeroed and trimmed', async () => {
  const seed = randomInt(2 ** 31 - 1)
  console.info(`seed ${seed}`)
  const rounds = fc.array(fc.array(anyChange(), { maxLength: 8 }), {
    minLength: INCREMENTS + 1,
    maxLength: INCREMENTS + 1,
  })
  await fc.assert(fc.asyncProperty(rounds, fc.constantFrom(64, 256), restoresEachRound), {
    seed,
    numRuns: 4,
    endOnFailure: true,
  })
})

async function restoresEachRound(rounds: readonly (readonly Change[])[], chunkSizeKib: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'sd-src-'))
  await using place = await makeTemporaryRepository(call(), { chunkSizeBytes: chunkSizeKib * 1024 })
  await using repository = await place.open()
  try {
    const image = await makeChangingImage(dir, DISK_BYTES, call())
    const vmId = randomUUID()
    const model = new Uint8Array(DISK_BYTES)
    const points: { id: string; model: Uint8Array }[] = []
    for (const [round, changes] of rounds.entries()) {
      await image.change(async (disk) => {
        for (const change of changes) await apply(change, disk, model)
      })
      const parent = points.at(-1)
      const base = parent === undefined ? {} : { parentRestorePointId: parent.id }
      const mode = parent === undefined ? 'full' : 'incremental'
      const { manifest } = await image.freeze(async (source) => {
        const disk = { diskId: 'disk0', sizeBytes: DISK_BYTES, mode, source } as const
        return await backUp(
          repository,
          { vmId, takenAt: new Date(1_700_000_000_000 + round), ...base, disks: [disk] },
          call(),
        )
      })
      const readMaxBytes = mode === 'incremental' ? touchedBytes(changes) : DISK_BYTES
      expect(manifest.disks[0]?.readBytes).toBeLessThanOrEqual(readMaxBytes)
      points.push({ id: manifest.restorePointId, model: model.slice() })
    }
    for (const point of points) {
      const restored = (await restoreAll(repository, point.id, call())).get('disk0') ?? new Uint8Array()
      expect(Buffer.compare(restored, point.model)).toBe(0)
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Trims are of whole clusters, which read as zeros afterwards: the model stays exact. */
function anyChange(): fc.Arbitrary<Change> {
  const sectors = DISK_BYTES / SECTOR_BYTES
  const free = fc
    .record({
      kind: fc.constantFrom('write' as const, 'write-zeroes' as const),
      first: fc.nat(sectors - 1),
      count: fc.integer({ min: 1, max: 700 }),
      fill: fc.nat(255),
    })
    .map(({ kind, first, count, fill }) => {
      const lengthBytes = Math.min(count, sectors - first) * SECTOR_BYTES
      return { kind, offsetBytes: first * SECTOR_BYTES, lengthBytes, fill }
    })
  const clusters = Math.floor(DISK_BYTES / CLUSTER_BYTES)
  const trim = fc
    .record({ first: fc.nat(clusters - 1), count: fc.integer({ min: 1, max: 12 }) })
    .map(({ first, count }) => {
      const lengthBytes = Math.min(count, clusters - first) * CLUSTER_BYTES
      return { kind: 'trim' as const, offsetBytes: first * CLUSTER_BYTES, lengthBytes, fill: 0 }
    })
  return fc.oneof({ weight: 3, arbitrary: free }, { weight: 1, arbitrary: trim })
}

async function apply(change: Change, disk: BlockSink & Pick<NbdSink, 'trim'>, model: Uint8Array): Promise<void> {
  const { kind, offsetBytes, lengthBytes, fill } = change
  if (kind === 'write') {
    // Not one byte over and over: a piece at a wrong offset must differ. Fill 0 writes zeros as data.
    const bytes = Uint8Array.from({ length: lengthBytes }, (_, index) => (fill * (1 + (index % 251))) & 0xff)
    await disk.write(offsetBytes, bytes, call())
    model.set(bytes, offsetBytes)
    return
  }
  if (kind === 'trim') await disk.trim(offsetBytes, lengthBytes, call())
  else await disk.writeZeroes(offsetBytes, lengthBytes, call())
  model.fill(0, offsetBytes, offsetBytes + lengthBytes)
}

/** Bytes of all bitmap granules that the changes touch, clamped to the disk. */
function touchedBytes(changes: readonly Change[]): number {
  const granules = new Set<number>()
  for (const { offsetBytes, lengthBytes } of changes) {
    const last = Math.floor((offsetBytes + lengthBytes - 1) / BITMAP_GRANULARITY_BYTES)
    for (let at = Math.floor(offsetBytes / BITMAP_GRANULARITY_BYTES); at <= last; at += 1) granules.add(at)
  }
  let sum = 0
  for (const granule of granules)
    sum += Math.min(BITMAP_GRANULARITY_BYTES, DISK_BYTES - granule * BITMAP_GRANULARITY_BYTES)
  return sum
}

function call(): CallOptions {
  return { signal: AbortSignal.timeout(100_000) }
}
