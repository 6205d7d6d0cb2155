import { expect, test } from 'vitest'
import { playSeeds } from './model/play-seeds.ts'

const TIMEOUT_MS = 600_000

test(
  'late listings, errors, deaths and standstills all at once, in four hundred histories: nothing sealed is lost',
  async () => {
    const storm = { lateListings: true, errors: true, crashes: true, suspensions: true, collectors: 2 } as const
    const { failure, sealed } = await playSeeds({ from: 10_000, count: 400 }, storm)
    expect(failure).toBeUndefined()
    expect(sealed).toBeGreaterThan(2000)
  },
  TIMEOUT_MS,
)
