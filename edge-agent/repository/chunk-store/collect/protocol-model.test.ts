import { expect, test } from 'vitest'
import { playSeeds } from './model/play-seeds.ts'
import { planOf, runModel } from './model/run-model.ts'

test('whatever happens to writers, deleters and collections, every sealed restore point can be read, and the rest goes', async () => {
  const { failure, sealed } = await playSeeds({ from: 0, count: 20 })
  expect(failure).toBeUndefined()
  expect(sealed).toBeGreaterThan(200)
})

test('a seed is always played in the same way', async () => {
  const [one, other] = [await runModel(planOf(7)), await runModel(planOf(7))]
  expect(one.trace.length).toBeGreaterThan(30)
  expect(other).toEqual(one)
})
