import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { createMover } from '../../mover/create-mover.ts'
import { createMemoryStore } from '../../object-store/memory/memory-store.ts'
import { lentStore, makeTestChunkRepository } from '../chunk-store/test-chunk-repository.ts'
import { createMemoryRepositoryStore, openMemoryRepository } from '../memory/memory-repository.ts'
import { makeTemporaryRepository } from '../qcow2-chain/temporary-repository.ts'
import type { Repository } from '../repository.ts'
import { call } from '../scenario-guest.ts'
import { anyHistory, runHistory } from './testing/copy-history.ts'

const KIB = 1024
const CHAIN_POINTS_MAX = 4
const kinds = ['memory', 'chain', 'encrypted chain', 'chunks'] as const
type Kind = (typeof kinds)[number]

const mover = createMover({ threadsMax: 1, memoryBytes: 64 * KIB * KIB })
afterAll(async () => await mover[Symbol.asyncDispose]())

/** An empty repository with keys of its own; what it lies in goes with `owned`. */
async function openNew(kind: Kind, chunkSizeBytes: number, owned: AsyncDisposableStack): Promise<Repository> {
  if (kind === 'memory') {
    const store = createMemoryRepositoryStore({ chunkSizeBytes, idKey: randomBytes(32) })
    return openMemoryRepository(store, { chainPointsMax: CHAIN_POINTS_MAX })
  }
  if (kind === 'chunks') {
    const made = await makeTestChunkRepository(lentStore(createMemoryStore()), call(), undefined, { chunkSizeBytes })
    return owned.use(await made.open())
  }
  const layerKey = kind === 'chain' ? {} : { layerKey: randomBytes(32) }
  const place = owned.use(await makeTemporaryRepository(call(), { chunkSizeBytes, ...layerKey }))
  return owned.use(await place.open({ chainLayersMax: CHAIN_POINTS_MAX }))
}

describe('whatever happened before, every restore point arrives as it was, and comes back as it was', () => {
  const plain = kinds.filter((kind) => kind !== 'encrypted chain')
  const pairs = plain.flatMap((from) => plain.map((to) => [from, to] as const))
  test.each([...pairs, ['chunks', 'encrypted chain']] as const)('%s to %s', { timeout: 300_000 }, async (from, to) => {
    const sizes = fc.constantFrom(64 * KIB, 256 * KIB, 1024 * KIB)
    const startsServers = from.endsWith('chain') || to.endsWith('chain')
    await fc.assert(
      fc.asyncProperty(
        anyHistory(startsServers ? (to === 'encrypted chain' ? 6 : 10) : 24),
        sizes,
        sizes,
        async (steps, sourceBytes, targetBytes) => {
          await using owned = new AsyncDisposableStack()
          const source = await openNew(from, sourceBytes, owned)
          const target = await openNew(to, targetBytes, owned)
          const back = await openNew(from, 128 * KIB, owned)
          await runHistory(steps, { source, target, back, mover })
        },
      ),
      { numRuns: startsServers ? 2 : 8, endOnFailure: startsServers },
    )
    expect.hasAssertions()
  })
})
