import { type ModelMutation, type ModelPlan, type ModelResult, planOf, runModel } from './run-model.ts'

/** Smaller plans, each with one thing less. */
function* smaller(plan: ModelPlan): Generator<ModelPlan> {
  for (const fault of ['lateListings', 'errors', 'tornPuts', 'crashes', 'suspensions'] as const) {
    if (plan[fault]) yield { ...plan, [fault]: false }
  }
  if (plan.clockJumps !== 'none') yield { ...plan, clockJumps: 'none' }
  if (plan.deleters > 0) yield { ...plan, deleters: plan.deleters - 1 }
  if (plan.collectors > 1) yield { ...plan, collectors: plan.collectors - 1 }
  if (plan.writers > 1) yield { ...plan, writers: plan.writers - 1 }
  if (plan.hours > 1) yield { ...plan, hours: plan.hours - 1 }
}

/** The smallest plan found that fails as the one of this seed does. Deterministic. */
export async function shrinkPlan(seed: number, mutation: ModelMutation = {}): Promise<ModelPlan> {
  let plan: ModelPlan = { ...planOf(seed), ...mutation.plan }
  for (;;) {
    let found: ModelPlan | undefined
    for (const candidate of smaller(plan)) {
      const { violations } = await runModel(candidate, mutation)
      if (violations.length === 0) continue
      found = candidate
      break
    }
    if (found === undefined) return plan
    plan = found
  }
}

/** What to print of a seed that failed: what went wrong, with how little it does, and how. */
export async function explainFailure(seed: number, mutation: ModelMutation = {}): Promise<string> {
  const plan = await shrinkPlan(seed, mutation)
  const { violations, trace }: ModelResult = await runModel(plan, mutation)
  return [`seed ${seed}, shrunk to ${JSON.stringify(plan)}`, ...trace.slice(-120), ...violations].join('\n')
}
