import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import type { CallOptions, ObjectStore } from '../../../../object-store/object-store.ts'
import { uuidFromBytes } from '../../format/identity-bytes.ts'
import type { Machine } from '../../lease/this-machine.ts'
import { modelRandom } from './model-random.ts'
import { modelTimes, type ModelWorld, never } from './model-world.ts'
import type { VirtualProcess } from './virtual-time.ts'

const SECOND_MS = 1000
/** Longer than anything else in the protocol takes. */
const STANDSTILL_MAX_MS = 150 * 60 * SECOND_MS

export interface ProcessFaults {
  /** Chance of dying at each call of the store. */
  readonly crashRate: number
  /** Chance of standing still there. */
  readonly suspendRate: number
  /** Chance that one of them happens in the next steps where it matters. */
  readonly accidentRate: number
  /** Chance of a request to be long under way. */
  readonly slowRate: number
}

/** A process with clocks of its own and a way to the store, on which anything may happen to it. */
export class ModelProcess implements VirtualProcess {
  isDead = false
  suspendedUntilMs = -Infinity
  stoodStillMs = 0
  /** It has stood still, or its clock was set: what it does may fail. */
  wasDisturbed = false
  /** What happens to it in so many steps from now; for a process that does what matters. */
  accident: { steps: number; readonly kind: 'dies' | 'stands still' } | undefined
  /** What its wall clock is off. */
  wallOffsetMs = 0
  readonly name: string
  readonly random: () => number
  readonly bytes: (lengthBytes: number) => Uint8Array
  readonly clock: Clock
  readonly machine: Machine
  readonly store: ObjectStore
  readonly #world: ModelWorld
  readonly #faults: ProcessFaults
  readonly #onEnd: () => void

  constructor(world: ModelWorld, name: string, seed: number, faults: ProcessFaults, onEnd: () => void = () => {}) {
    this.#world = world
    this.#faults = faults
    this.#onEnd = onEnd
    this.name = name
    this.random = modelRandom(seed)
    this.bytes = seededBytes(seed + 1)
    const bootId = this.newId()
    this.clock = {
      now: () => new Date(world.time.nowMs + this.wallOffsetMs),
      sleep: async (milliseconds, { signal }) => await world.time.pause(this, milliseconds, signal),
    }
    this.machine = {
      holder: { host: name, machineId: name, bootId, pid: seed + 1, startTicks: '1' },
      readClocks: () => ({ wallMs: this.clock.now().getTime(), bootId, upMs: Math.round(world.time.nowMs) }),
    }
    this.store = this.#connect(world.store)
  }

  newId = (): string => {
    const bytes = this.bytes(16)
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
    return uuidFromBytes(bytes)
  }

  newPackId(): string {
    return Buffer.from(this.bytes(20)).toString('hex')
  }

  /** A clock that stands still while the process does. */
  nowMs = (): number => this.#world.time.nowMs - this.stoodStillMs

  below(count: number): number {
    return Math.floor(this.random() * count)
  }

  note(text: string): void {
    this.#world.note(`${this.name}: ${text}`)
  }

  #connect(store: ObjectStore): ObjectStore {
    return {
      description: store.description,
      objectMaxBytes: store.objectMaxBytes,
      put: async (key, body, options) =>
        await this.#call(options, `put ${key}`, async () => await store.put(key, body, { signal: never })),
      find: async (key, options) =>
        await this.#call(options, 'find', async () => await store.find(key, { signal: never })),
      get: async (key, options) =>
        await this.#call(options, 'get', async () => await store.get(key, { signal: never })),
      read: async (key, offsetBytes, into, options) =>
        await this.#call(options, 'read', async () => await store.read(key, offsetBytes, into, { signal: never })),
      list: (prefix, options) => this.#list(store, prefix, options),
      delete: async (key, options) =>
        await this.#call(options, `delete ${key}`, async () => await store.delete(key, { signal: never })),
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async *#list(store: ObjectStore, prefix: string, options: CallOptions) {
    yield await this.#call(options, 'list', async () => {
      const all = []
      for await (const page of store.list(prefix, { signal: never })) all.push(...page)
      return all
    })
  }

  /** Before it is sent, and before the answer is heard, anything may happen; what was sent takes effect all the same. */
  async #call<T>({ signal }: CallOptions, what: string, work: () => Promise<T>): Promise<T> {
    await this.#step(what, signal)
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    // What is under way may take as long as it may at most.
    const isSlow = this.random() < this.#faults.slowRate
    const travelMs = this.random() * (isSlow ? modelTimes.putMs : SECOND_MS)
    this.#world.time.at(this.#world.time.nowMs + travelMs, undefined, () => {
      work().then(resolve, reject)
    })
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
      await this.#step(`answer to ${what}`, never)
    }
  }

  async #step(what: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const happening = this.#next()
    if (happening === 'dies') {
      this.note(`dies before: ${what}`)
      this.isDead = true
      this.#onEnd()
    } else if (happening === 'stands still') {
      // Often just as long as may be borne.
      const maxMs = this.random() < 0.5 ? modelTimes.leaseExpiryMs : STANDSTILL_MAX_MS
      this.suspend(this.random() * maxMs)
      const minutes = Math.round((this.suspendedUntilMs - this.#world.time.nowMs) / 60_000)
      this.note(`stands still for ${minutes} min, before: ${what}`)
    }
    // One that is dead never comes back from there.
    if (this.isDead || this.suspendedUntilMs > this.#world.time.nowMs) await this.#world.time.pause(this, 0, signal)
  }

  /** Something may happen within so many steps. */
  planAccident(steps: number): void {
    const { crashRate, suspendRate, accidentRate } = this.#faults
    if (this.random() >= accidentRate) return
    const mayBoth = crashRate > 0 && suspendRate > 0
    const isDeath = mayBoth ? this.random() < 0.3 : crashRate > 0
    this.accident = { steps: this.below(steps), kind: isDeath ? 'dies' : 'stands still' }
  }

  #next(): 'dies' | 'stands still' | undefined {
    if (this.#world.areFaultsOff) return undefined
    if (this.accident !== undefined) {
      this.accident.steps -= 1
      if (this.accident.steps < 0) {
        const { kind } = this.accident
        this.accident = undefined
        return kind
      }
    }
    const dice = this.random()
    if (dice < this.#faults.crashRate) return 'dies'
    return dice > 1 - this.#faults.suspendRate ? 'stands still' : undefined
  }

  suspend(milliseconds: number): void {
    const untilMs = Math.max(this.suspendedUntilMs, this.#world.time.nowMs + milliseconds)
    this.stoodStillMs += untilMs - Math.max(this.suspendedUntilMs, this.#world.time.nowMs)
    this.suspendedUntilMs = untilMs
    this.wasDisturbed = true
  }
}
