import { randomUUID } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import { deleteLeftovers, type LeftBehind } from './delete-leftovers.ts'
import type { Guarantee } from './guarantee.ts'
import { openLocalStore } from './local/local-store.ts'
import { expectMountPoint } from './local/probe-directory.ts'
import type { ObjectStoreConfig } from './object-store-config.ts'
import { isPromisedBy, objectStoreGuarantees } from './object-store-guarantees.ts'
import type { CallOptions, ObjectStore } from './object-store.ts'
import { openObjectStore } from './open-object-store.ts'
import { probeStore } from './probe-store.ts'
import { type Quirk, quirkTable } from './quirk-table.ts'
import { toWholeSecond } from './retention-rule.ts'
import { runParallel } from './run-parallel.ts'
import type { ProbeFinding } from './store-probe.ts'

const MIB = 1024 ** 2
const LARGE_BYTES = 11 * MIB + 3
const GUARANTEES_AT_ONCE = 4
const GUARANTEE_TIMEOUT_MS = 10 * 60_000
const RETAIN_FOR_MS = 30_000

export interface GuaranteeResult {
  readonly promise: string
  readonly outcome: 'kept' | 'broken' | 'not offered'
  /** Why it is broken. */
  readonly reason?: string
}

export interface ValidationReport {
  readonly store: string
  readonly vendor: string | undefined
  readonly findings: readonly ProbeFinding[]
  readonly guarantees: readonly GuaranteeResult[]
  /** What is known of the vendor beside what was found. */
  readonly quirks: readonly Quirk[]
  /** What could not be deleted afterwards, and why. */
  readonly leftBehind: readonly LeftBehind[]
}

export interface ValidateOptions extends CallOptions {
  /** How long what is locked for the trial stays. Default half a minute. */
  readonly retainForMs?: number
  readonly clock?: Clock
  /** Hears one sentence about each step. */
  readonly onProgress?: (sentence: string) => void
}

/**
 * Holds a customer's own storage to everything that ObjectStore promises, under a prefix of its own that nobody else has,
 * and deletes what it put. Rejects when the storage cannot be opened at all; what is wrong with it is in the report.
 */
export async function validateStore(config: ObjectStoreConfig, options: ValidateOptions): Promise<ValidationReport> {
  const { signal, clock = systemClock, retainForMs = RETAIN_FOR_MS, onProgress = () => {} } = options
  const prefix = `sendense-validation-${randomUUID()}/`
  await using trial = await openTrial(config, prefix, { signal })
  const { store } = trial
  const cleanup = async (): Promise<LeftBehind[]> => {
    onProgress('deleting what was put')
    return await deleteLeftovers(store, prefix, { signal, clock, waitMs: retainForMs + 15_000 })
  }
  try {
    onProgress(`trying what ${store.description} can do`)
    const retainUntil = toWholeSecond(new Date(clock.now().getTime() + retainForMs))
    const probePrefix = `${prefix}probe/`
    const { findings, vendor } = await probeStore(config, store, { signal, prefix: probePrefix, retainUntil, clock })
    const guarantees = await runGuarantees(store, { signal, prefix, clock, retainForMs, onProgress })
    const leftBehind = await cleanup()
    const quirks = quirkTable.filter((quirk) => quirk.vendor === vendor)
    return { store: store.description, vendor, findings, guarantees, quirks, leftBehind }
  } catch (error) {
    if (!signal.aborted) await cleanup().catch(() => undefined)
    throw error
  }
}

interface GuaranteeRun extends CallOptions {
  readonly prefix: string
  readonly clock: Clock
  readonly retainForMs: number
  readonly onProgress: (sentence: string) => void
}

async function runGuarantees(store: ObjectStore, run: GuaranteeRun): Promise<GuaranteeResult[]> {
  const { signal, prefix, onProgress } = run
  const results = new Map<Guarantee, GuaranteeResult>()
  const offered = objectStoreGuarantees.filter((guarantee) => isPromisedBy(store, guarantee))
  await runParallel(
    offered.entries(),
    { concurrency: GUARANTEES_AT_ONCE, signal },
    async ([index, guarantee], call) => {
      const { promise } = guarantee
      const either = AbortSignal.any([call.signal, AbortSignal.timeout(GUARANTEE_TIMEOUT_MS)])
      const context = { ...run, store, prefix: `${prefix}g${index}/`, signal: either, largeBytes: LARGE_BYTES }
      try {
        await guarantee.run({ ...context, randomBytes: seededBytes(index + 1) })
        results.set(guarantee, { promise, outcome: 'kept' })
      } catch (error) {
        call.signal.throwIfAborted()
        results.set(guarantee, { promise, outcome: 'broken', reason: describe(error) })
      }
      onProgress(`${results.get(guarantee)?.outcome}: ${promise}`)
    },
  )
  return objectStoreGuarantees.map(
    (guarantee) => results.get(guarantee) ?? { promise: guarantee.promise, outcome: 'not offered' },
  )
}

/** The store as it is tried: with small parts and pages, so that little has to be sent; a directory gets a store of its own. */
async function openTrial(
  config: ObjectStoreConfig,
  prefix: string,
  { signal }: CallOptions,
): Promise<AsyncDisposable & { readonly store: ObjectStore }> {
  if (config.kind === 'directory') {
    await expectMountPoint(config, { signal })
    const directory = path.join(config.directory, prefix.slice(0, -1))
    await mkdir(directory)
    const remove = async (): Promise<void> => await rm(directory, { recursive: true, force: true })
    try {
      const store = await openLocalStore({ directory, create: { worm: true }, pageMax: 20, signal })
      return { store, [Symbol.asyncDispose]: remove }
    } catch (error) {
      await remove()
      throw error
    }
  }
  const small =
    config.kind === 's3'
      ? { ...config, pageMax: 20, singlePutMaxBytes: 5 * MIB, partSizeBytes: 5 * MIB }
      : { ...config, pageMax: 20, singlePutMaxBytes: 4 * MIB, blockSizeBytes: 4 * MIB }
  const store = await openObjectStore(small, { signal })
  return { store, [Symbol.asyncDispose]: async () => await store[Symbol.asyncDispose]() }
}

function describe(error: unknown): string {
  if (isPlatformError(error)) return `${error.code}: ${error.message}`
  return error instanceof Error ? error.message : String(error)
}
