import assert from 'node:assert/strict'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { findRuns, isWorthMerging, type PlacedPoint, referencedLayers, replaceRun } from './merge-plan.ts'

const DISK = 'disk0'

test('a layer that is no point’s own is merged with the one above it; points’ own layers stay apart', () => {
  const points = [point('c', ['C', 'B', 'A']), point('a', ['A'])]
  expect(findRuns(points)).toEqual([{ diskId: DISK, replaces: ['C', 'B'], below: ['A'], restorePointId: 'c' }])
  expect(findRuns([point('c', ['C', 'B', 'A'])])).toMatchObject([{ replaces: ['C', 'B', 'A'], below: [] }])
  expect(findRuns([point('b', ['B', 'A']), point('a', ['A'])])).toEqual([])
})

test('a layer that two chains continue from is not merged into either', () => {
  const points = [point('c', ['C', 'B', 'A']), point('d', ['D', 'B', 'A'])]
  expect(findRuns(points)).toEqual([])
  expect(findRuns(points.slice(0, 1))).toMatchObject([{ replaces: ['C', 'B', 'A'] }])
})

test('a small layer waits until its merge with a large one frees enough', () => {
  expect(isWorthMerging([100, 100])).toBe(true)
  expect(isWorthMerging([1, 100])).toBe(false)
  expect(isWorthMerging([10, 10, 100, 5])).toBe(true)
})

test('a chain that does not hold all of a run is not changed by it', () => {
  expect(replaceRun(['D', 'C', 'B', 'A'], { replaces: ['C', 'B'] }, 'M')).toEqual(['D', 'M', 'A'])
  for (const chain of [['C', 'A'], ['B', 'A'], ['C'], ['D', 'C', 'X', 'B']]) {
    expect(replaceRun(chain, { replaces: ['C', 'B'] }, 'M')).toBeUndefined()
  }
})

type Step =
  | { readonly kind: 'back-up'; readonly parent: number; readonly blocks: readonly number[] }
  | { readonly kind: 'delete'; readonly point: number }
  | { readonly kind: 'merge'; readonly run: number; readonly switched: number }

test('whatever is backed up, deleted, merged and cut off between two points: every point keeps its content', () => {
  fc.assert(
    fc.property(fc.array(anyStep(), { maxLength: 40 }), (steps) => {
      const model = new Model()
      for (const step of steps) {
        model.apply(step)
        model.check()
      }
      for (const run of model.runs()) model.merge(run, Number.MAX_SAFE_INTEGER)
      model.check()
      expect(findRuns(model.points).every((run) => run.replaces.length > 1)).toBe(true)
    }),
  )
})

test('of one point that is left, one layer is left', () => {
  fc.assert(
    fc.property(fc.array(anyStep(), { maxLength: 40 }), fc.nat(), (steps, kept) => {
      const model = new Model()
      for (const step of steps) model.apply(step)
      if (model.points.length === 0) return
      const last = model.points[kept % model.points.length]
      model.points = model.points.filter((each) => each === last)
      for (let run = model.runs()[0]; run !== undefined; run = model.runs()[0]) model.merge(run, 1)
      model.check()
      expect(referencedLayers(model.points).size).toBe(1)
    }),
  )
})

/** Layers as the blocks they hold. */
class Model {
  points: (PlacedPoint & { readonly content: ReadonlyMap<number, number> })[] = []
  readonly #layers = new Map<string, ReadonlyMap<number, number>>()
  #count = 0

  apply(step: Step): void {
    if (step.kind === 'merge') {
      const runs = this.runs()
      const run = runs[step.run % Math.max(1, runs.length)]
      if (run !== undefined) this.merge(run, step.switched)
      return
    }
    if (step.kind === 'delete') {
      this.points.splice(step.point % Math.max(1, this.points.length), 1)
      return
    }
    const parent = this.points[step.parent % (this.points.length + 1)]
    const own = new Map(step.blocks.map((block) => [block, ++this.#count]))
    const layer = this.#add(own)
    const below = parent?.layers.get(DISK) ?? []
    const content = new Map([...(parent?.content ?? []), ...own])
    this.points.push({ ...point(`p${++this.#count}`, [layer, ...below]), content })
  }

  runs() {
    return findRuns(this.points)
  }

  /** A process that dies between two points has switched only the first ones. */
  merge(run: ReturnType<typeof findRuns>[number], switched: number): void {
    const merged = new Map(run.replaces.toReversed().flatMap((layer) => [...(this.#layers.get(layer) ?? [])]))
    const layer = this.#add(merged)
    this.points = this.points.map((each, index) => {
      const replaced = replaceRun(each.layers.get(DISK) ?? [], run, layer)
      return replaced === undefined || index > switched ? each : { ...each, layers: new Map([[DISK, replaced]]) }
    })
  }

  check(): void {
    for (const { layers, content } of this.points) {
      const chain = layers.get(DISK) ?? []
      const read = new Map(chain.toReversed().flatMap((layer) => [...(this.#layers.get(layer) ?? [])]))
      assert.deepEqual(read, content)
    }
  }

  #add(blocks: ReadonlyMap<number, number>): string {
    const name = `L${++this.#count}`
    this.#layers.set(name, blocks)
    return name
  }
}

function anyStep(): fc.Arbitrary<Step> {
  return fc.oneof(
    fc.record({
      kind: fc.constant('back-up' as const),
      parent: fc.nat(),
      blocks: fc.array(fc.nat(8), { maxLength: 4 }),
    }),
    fc.record({ kind: fc.constant('delete' as const), point: fc.nat() }),
    fc.record({ kind: fc.constant('merge' as const), run: fc.nat(), switched: fc.nat(6) }),
  )
}

function point(restorePointId: string, chain: readonly string[]): PlacedPoint {
  return { restorePointId, layers: new Map([[DISK, chain]]) }
}
