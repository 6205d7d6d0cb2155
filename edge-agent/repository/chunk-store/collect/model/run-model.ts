import { parseManifestKey, prefixes } from '../../format/object-keys.ts'
import { collectRepository } from '../collect-repository.ts'
import { type CollectionRules, collectionRules } from '../collection-rules.ts'
import { deletePointObjects } from '../delete-point-objects.ts'
import { listObjects } from '../list-objects.ts'
import { ModelProcess } from './model-process.ts'
import { modelRandom } from './model-random.ts'
import { modelTimes, ModelWorld, never, short, START_MS } from './model-world.ts'
import { CHUNK_COUNT, writePoint, type WriterMutation } from './model-writer.ts'
import { putOldPoints } from './old-points.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
/** After the end: the longest that anybody stands still, and clocks that were set back have caught up. */
const CALM_MS = 12 * HOUR_MS
const LAST_COLLECTIONS = 6
/** How old is what was there before. */
const AGE_MS = 2 * HOUR_MS

/** Who takes part, and what may happen to them. */
export interface ModelPlan {
  readonly seed: number
  readonly hours: number
  readonly writers: number
  readonly collectors: number
  readonly deleters: number
  /** Collections come up to so many minutes apart. */
  readonly collectEvery: number
  readonly lateListings: boolean
  readonly errors: boolean
  readonly tornPuts: boolean
  readonly crashes: boolean
  readonly suspensions: boolean
  readonly clockJumps: 'none' | 'store' | 'machines' | 'both'
  /** How often clocks are set. */
  readonly jumps: number
  /** Share of requests that are under way for as long as they may be. */
  readonly slowRate: number
}

/** A part of the protocol that is left out. */
export interface ModelMutation extends WriterMutation {
  /** What has to come together for data to be lost: found sooner where it comes often. */
  readonly plan?: Partial<ModelPlan>
  /** A seed that found it, to be tried first; any other will do. */
  readonly firstSeed?: number
  readonly rules?: Partial<CollectionRules>
  readonly deletePoint?: typeof deletePointObjects
}

export interface ModelResult {
  readonly violations: readonly string[]
  readonly trace: readonly string[]
  readonly reported: number
}

export function planOf(seed: number): ModelPlan {
  const random = modelRandom(seed * 7919 + 17)
  const below = (count: number): number => Math.floor(random() * count)
  return {
    seed,
    hours: 2 + below(3),
    writers: 2 + below(2),
    collectors: 1 + below(2),
    deleters: 1,
    collectEvery: [14, 35, 80][below(3)] ?? 30,
    lateListings: random() < 0.7,
    errors: random() < 0.3,
    tornPuts: random() < 0.1,
    crashes: random() < 0.6,
    suspensions: random() < 0.6,
    jumps: 3,
    slowRate: random() < 0.5 ? 0.03 : 0,
    clockJumps: (['none', 'none', 'none', 'none', 'store', 'machines', 'both'] as const)[below(7)] ?? 'none',
  }
}

/** Plays one plan, always in the same way, and looks after every step whether what is sealed can be read. */
export async function runModel(plan: ModelPlan, mutation: ModelMutation = {}): Promise<ModelResult> {
  const world = new ModelWorld(plan.seed, plan)
  const run = new ModelRun(world, plan, mutation)
  await run.start()
  const hasFailed = (): boolean => world.violations.length > 0
  await world.time.run(run.stopMs, hasFailed)
  world.areFaultsOff = true
  world.note('nothing happens to anybody any more')
  await world.time.run(run.stopMs + CALM_MS, hasFailed)
  const mustBeTidy = !plan.tornPuts && mutation.plan === undefined
  if (!hasFailed() && mustBeTidy) {
    run.startLastCollections()
    await world.time.run(Infinity, hasFailed)
    if (!hasFailed()) world.expectTidy()
  }
  return { violations: world.violations, trace: world.trace, reported: world.reportedCount }
}

class ModelRun {
  readonly stopMs: number
  readonly #world: ModelWorld
  readonly #plan: ModelPlan
  readonly #mutation: ModelMutation
  readonly #processes: ModelProcess[] = []
  #seeds = 0

  constructor(world: ModelWorld, plan: ModelPlan, mutation: ModelMutation) {
    this.#world = world
    this.#plan = plan
    this.#mutation = mutation
    this.stopMs = START_MS + AGE_MS + plan.hours * HOUR_MS
  }

  async start(): Promise<void> {
    await putOldPoints(this.#world, this.#newProcess('before', this.#plan.seed), CHUNK_COUNT)
    await this.#world.time.run(START_MS + AGE_MS)
    this.#world.areFaultsOff = false
    const { writers, collectors, deleters } = this.#plan
    for (let index = 0; index < writers; index += 1) {
      this.#play(`writer ${index}`, 12, async (process) => await writePoint(this.#world, process, this.#mutation))
    }
    for (let index = 0; index < collectors; index += 1) {
      this.#play(`collector ${index}`, this.#plan.collectEvery, async (process) => await this.#collect(process))
    }
    for (let index = 0; index < deleters; index += 1) {
      this.#play(`deleter ${index}`, 14, async (process) => await this.#delete(process))
    }
    this.#setClocks()
  }

  startLastCollections(): void {
    const process = this.#newProcess('last collector', 4242)
    const work = async (): Promise<void> => {
      for (let round = 0; round < LAST_COLLECTIONS; round += 1) {
        await this.#collect(process)
        await process.clock.sleep(modelTimes.graceMs + 5 * MINUTE_MS, { signal: never })
      }
    }
    void work()
  }

  /** Somebody who does the same again and again, and comes back when he died. */
  #play(name: string, everyMinutes: number, work: (process: ModelProcess) => Promise<void>): void {
    this.#seeds += 100_000
    const seed = this.#plan.seed * 31 + this.#seeds
    const live = async (life: number): Promise<void> => {
      const process = this.#newProcess(life === 0 ? name : `${name} (${life})`, seed + life * 10, () => {
        this.#world.time.at(this.#world.time.nowMs + 20 * MINUTE_MS, undefined, () => void live(life + 1))
      })
      while (this.#world.time.nowMs < this.stopMs) {
        await process.clock.sleep(process.random() * everyMinutes * MINUTE_MS, { signal: never })
        await work(process).catch((error: unknown) => process.note(`failed: ${String(error)}`))
        process.wasDisturbed = false
      }
    }
    void live(0)
  }

  #newProcess(name: string, seed: number, onEnd?: () => void): ModelProcess {
    const { crashes, suspensions } = this.#plan
    const faults = {
      crashRate: crashes ? 0.0004 : 0,
      suspendRate: suspensions ? 0.0004 : 0,
      accidentRate: crashes || suspensions ? 0.5 : 0,
      slowRate: this.#plan.slowRate,
    }
    const process = new ModelProcess(this.#world, name, seed, faults, onEnd)
    process.wallOffsetMs = this.#processes[0]?.wallOffsetMs ?? 0
    this.#processes.push(process)
    return process
  }

  async #collect(process: ModelProcess): Promise<void> {
    const rules = { ...collectionRules, ...this.#mutation.rules }
    const report = await collectRepository({
      store: process.store,
      context: this.#world.context,
      agentId: process.newId(),
      machine: process.machine,
      newId: process.newId,
      times: modelTimes,
      rules,
      signal: never,
    })
    const { condemned, deleted, spared, waiting, stopped } = report
    const why = stopped === undefined ? '' : `, stopped: ${stopped.message}`
    const waits = waiting.map((list) => list.why).join(' ')
    process.note(
      `condemned ${condemned.packs}, deleted ${deleted.packs}, spared ${spared.packs}, waits: ${waits}${why}`,
    )
  }

  async #delete(process: ModelProcess): Promise<void> {
    const points = []
    for await (const { key } of listObjects(process.store, prefixes.manifests, { signal: never })) {
      points.push(parseManifestKey(key))
    }
    const point = points[process.below(points.length)]
    if (point === undefined) return
    this.#world.giveUp(point.restorePointId)
    process.note(`deletes ${short(point.restorePointId)}`)
    await (this.#mutation.deletePoint ?? deletePointObjects)(process.store, point, { signal: never })
  }

  #setClocks(): void {
    const { clockJumps, seed, hours } = this.#plan
    if (clockJumps === 'none') return
    const random = modelRandom(seed + 99)
    for (let jump = 0; jump < this.#plan.jumps; jump += 1) {
      const byMs = (random() < 0.7 ? 1 : -1) * random() * 3 * HOUR_MS
      this.#world.time.at(START_MS + AGE_MS + random() * hours * HOUR_MS, undefined, () => {
        this.#world.note(`clocks of ${clockJumps} are set by ${Math.round(byMs / MINUTE_MS)} min`)
        if (clockJumps !== 'machines') this.#world.storeOffsetMs += byMs
        for (const process of this.#processes) {
          if (clockJumps !== 'store') process.wallOffsetMs += byMs
          process.wasDisturbed = true
        }
      })
    }
  }
}
