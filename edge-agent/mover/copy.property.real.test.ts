import { backupModes } from '@sendense/shared/domain/backup-reason.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk, type MemoryDisk } from '../block/memory-disk.ts'
import { ChunkHash } from './chunk-hash.ts'
import { ChunkIds } from './chunk-ids.ts'
import { copyBackup } from './copy-backup.ts'
import { copyRestore } from './copy-restore.ts'

const idKey = new Uint8Array(32).fill(0x42)
const call = { signal: AbortSignal.timeout(120_000) }

interface Change {
  readonly kind: 'write' | 'zero' | 'write zeros as data'
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly fill: number
}

interface Scenario {
  readonly sizeBytes: number
  readonly chunkSizeBytes: number
  readonly granularityBytes: number
  readonly rounds: readonly { readonly mode: (typeof backupModes)[number]; readonly changes: readonly Change[] }[]
}

/** Sizes that are no multiple of the chunk, chunks below and above the piece that zeros are told apart in. */
const anyScenario: fc.Arbitrary<Scenario> = fc
  .record({
    sizeBytes: fc.oneof(fc.integer({ min: 1, max: 1_500_000 }), fc.integer({ min: 4_000_000, max: 9_000_000 })),
    chunkSizeBytes: fc.constantFrom(4096, 65_536, 262_144, 4_194_304),
  })
  .chain(({ sizeBytes, chunkSizeBytes }) => {
    const change: fc.Arbitrary<Change> = fc
      .record({
        kind: fc.constantFrom('write' as const, 'zero' as const, 'write zeros as data' as const),
        offsetBytes: fc.nat(sizeBytes - 1),
        lengthBytes: fc.integer({ min: 1, max: Math.max(1, Math.ceil(sizeBytes / 3)) }),
        fill: fc.integer({ min: 1, max: 255 }),
      })
      .map((any) => ({ ...any, lengthBytes: Math.min(any.lengthBytes, sizeBytes - any.offsetBytes) }))
    const round = fc.record({ mode: fc.constantFrom(...backupModes), changes: fc.array(change, { maxLength: 6 }) })
    return fc.record({
      sizeBytes: fc.constant(sizeBytes),
      chunkSizeBytes: fc.constant(chunkSizeBytes),
      granularityBytes: fc.constantFrom(512, 4096, 65_536),
      rounds: fc.array(round, { minLength: 1, maxLength: 6 }),
    })
  })

async function apply(disk: MemoryDisk, { kind, offsetBytes, lengthBytes, fill }: Change): Promise<void> {
  if (kind === 'zero') await disk.writeZeroes(offsetBytes, lengthBytes, call)
  else await disk.write(offsetBytes, new Uint8Array(lengthBytes).fill(kind === 'write' ? fill : 0), call)
}

function computeIds(content: Uint8Array, chunkSizeBytes: number): ChunkIds {
  const ids = new ChunkIds(content.length, chunkSizeBytes)
  const hash = new ChunkHash(idKey)
  for (let index = 0; index < ids.count; index += 1) {
    ids.set(index, hash.idOf(content.subarray(index * chunkSizeBytes, (index + 1) * chunkSizeBytes)))
  }
  return ids
}

function copyOf(ids: ChunkIds): ChunkIds {
  const copy = new ChunkIds(ids.sizeBytes, ids.chunkSizeBytes)
  copy.bytes.set(ids.bytes)
  return copy
}

describe('a chain of backups over memory disks', () => {
  test('every point holds the source, its ids are those of its content, and it restores to the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(anyScenario, async ({ sizeBytes, chunkSizeBytes, granularityBytes, rounds }) => {
        const source = createMemoryDisk({ sizeBytes, granularityBytes })
        let parent = createMemoryDisk({ sizeBytes })
        let ids = new ChunkIds(sizeBytes, chunkSizeBytes)
        let tracker = source.addTracker()
        for (const [round, { mode: wanted, changes }] of rounds.entries()) {
          const mode = round === 0 ? 'full' : wanted
          for (const change of changes) await apply(source, change)
          const frozen = source.freeze(mode === 'incremental' ? tracker : undefined)
          source.removeTracker(tracker)
          tracker = source.addTracker()
          const sink = mode === 'full' ? createMemoryDisk({ sizeBytes }) : parent.freeze()
          const chunkIds = mode === 'full' ? new ChunkIds(sizeBytes, chunkSizeBytes) : copyOf(ids)
          const base = mode === 'full' ? {} : { base: parent }
          const progress = await copyBackup({ mode, source: frozen, sink, ...base, chunkIds, idKey }, call)
          expect(Buffer.compare(sink.bytes, source.bytes)).toBe(0)
          expect(Buffer.compare(chunkIds.bytes, computeIds(source.bytes, chunkSizeBytes).bytes)).toBe(0)
          expect(progress.doneBytes).toBe(progress.plannedBytes)
          expect(progress.readBytes).toBe(progress.plannedBytes)
          const restored = createMemoryDisk({ sizeBytes })
          await copyRestore({ source: sink, sink: restored, chunkIds, idKey }, call)
          expect(Buffer.compare(restored.bytes, source.bytes)).toBe(0)
          parent = sink
          ids = chunkIds
        }
      }),
      { numRuns: 80 },
    )
  })

  test('one flipped byte anywhere in a restore point is found, named, and its chunk is not written', async () => {
    const content = new Uint8Array(900_001).map((_, index) => (index % 300_000 < 200_000 ? (index % 250) + 1 : 0))
    const chunkSizeBytes = 65_536
    const chunkIds = computeIds(content, chunkSizeBytes)
    await fc.assert(
      fc.asyncProperty(fc.nat(content.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const source = createMemoryDisk({ sizeBytes: content.length, content })
        source.bytes[at] = (content[at] ?? 0) ^ mask
        const sink = createMemoryDisk({ sizeBytes: content.length })
        const start = Math.floor(at / chunkSizeBytes) * chunkSizeBytes
        await expect(copyRestore({ source, sink, chunkIds, idKey }, call)).rejects.toMatchObject({
          code: 'repository.chunk_corrupt',
          details: { offsetBytes: start },
        })
        expect(sink.bytes.subarray(start, start + chunkSizeBytes).every((byte) => byte === 0)).toBe(true)
      }),
      { numRuns: 60 },
    )
  })
})
