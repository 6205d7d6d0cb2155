import { describe, expect, test } from 'vitest'
import { protocolMutants } from './model/protocol-mutants.ts'
import { planOf, runModel } from './model/run-model.ts'

const SEEDS_MAX = 1500
const TIMEOUT_MS = 600_000

describe('the model finds what goes wrong where', () => {
  test.each(Object.entries(protocolMutants))(
    '%s',
    async (_name, mutation) => {
      for (let count = 0; count < SEEDS_MAX; count += 1) {
        const seed = ((mutation.firstSeed ?? 0) + count) % SEEDS_MAX
        const { violations } = await runModel({ ...planOf(seed), ...mutation.plan }, mutation)
        if (violations.length > 0) return
      }
      expect.fail(`no seed below ${SEEDS_MAX} finds it`)
    },
    TIMEOUT_MS,
  )
})
