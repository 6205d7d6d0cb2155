import { type ModelPlan, planOf, runModel } from './run-model.ts'
import { explainFailure } from './shrink-plan.ts'

export interface SeedRange {
  readonly from: number
  readonly count: number
}

/**
 * Plays the seeds one after the other.
 * @param plan what all of them have in common
 * @returns what to print where one fails, shrunk; and how many restore points were sealed meanwhile
 */
export async function playSeeds({ from, count }: SeedRange, plan: Partial<ModelPlan> = {}) {
  let sealed = 0
  for (let seed = from; seed < from + count; seed += 1) {
    const { violations, reported } = await runModel({ ...planOf(seed), ...plan })
    if (violations.length > 0) return { failure: await explainFailure(seed, { plan }), sealed }
    sealed += reported
  }
  return { failure: undefined, sealed }
}
