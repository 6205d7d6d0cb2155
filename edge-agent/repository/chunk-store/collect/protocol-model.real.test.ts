import { expect, test } from 'vitest'
import { playSeeds } from './model/play-seeds.ts'

const TIMEOUT_MS = 600_000

test(
  'six hundred histories of writers, deleters and collections: nothing sealed is lost, and nothing else stays',
  async () => {
    const { failure, sealed } = await playSeeds({ from: 1000, count: 600 })
    expect(failure).toBeUndefined()
    expect(sealed).toBeGreaterThan(6000)
  },
  TIMEOUT_MS,
)
