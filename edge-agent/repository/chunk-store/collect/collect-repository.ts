import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { wrapStore } from '../../../object-store/layers/wrap-store.ts'
import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { encodeLease, type Lease } from '../format/lease.ts'
import type { SealContext } from '../format/object-context.ts'
import { leaseKey, parsePackKey, prefixes } from '../format/object-keys.ts'
import { generationOf } from '../generation.ts'
import type { Machine } from '../lease/this-machine.ts'
import { expectSound, type ProtocolTimes, protocolTimes } from '../protocol-times.ts'
import { carryOut } from './carry-out.ts'
import { type CollectionFindings, type CollectionPlan, planCollection, type StoredPack } from './collection-plan.ts'
import { type CollectionReport, count, emptyReport } from './collection-report.ts'
import { type CollectionRules, collectionRules, type StoreInstant } from './collection-rules.ts'
import { surveyCondemned } from './condemned-survey.ts'
import { listObjects, NewestObject } from './list-objects.ts'
import { type MarkedPoint, markReferences, type ReferenceMark } from './mark-references.ts'
import { surveySessions } from './session-survey.ts'
import { findVoidPoints } from './void-points.ts'

const PROBES_MAX = 3

/** How far a collection has come. */
export interface CollectionProgress {
  readonly step: 'marking' | 'deleting'
  readonly done: number
  readonly total: number
}

export interface CollectOptions extends CallOptions {
  readonly store: ObjectStore
  readonly context: SealContext
  readonly agentId: string
  readonly machine: Machine
  readonly newId: () => string
  /** Finds out what it would do, and does nothing of it. */
  readonly isDryRun?: boolean
  /** Packs that one run deletes at most. Default 100000. */
  readonly deletesMax?: number
  readonly times?: ProtocolTimes | undefined
  readonly rules?: CollectionRules | undefined
  readonly onProgress?: ((progress: CollectionProgress) => void) | undefined
}

/** What one run has at hand. */
export interface Run {
  readonly options: CollectOptions
  /** Counts requests. */
  readonly store: ObjectStore
  readonly runId: string
  readonly times: ProtocolTimes
  readonly rules: CollectionRules
  readonly report: CollectionReport
  /** Keys of the objects that it put to learn the time. */
  readonly probes: string[]
}

/** What a run found, and when. */
export interface RunFindings extends CollectionFindings {
  readonly mark: ReferenceMark
  readonly voids: readonly MarkedPoint[]
  readonly now: StoreInstant
}

/**
 * One collection: condemns packs that nothing refers to, and deletes those that were condemned long ago and that nobody can
 * refer to any more. Many may run at once, beside writers and deleters; each may be cut short anywhere and is taken up by the
 * next one. Where anything is not as it must be it deletes nothing, or no more, and the report says why.
 * Rejects with the signal's reason only. FORMAT.md, "Collection".
 */
export async function collectRepository(options: CollectOptions): Promise<CollectionReport> {
  const { newId, signal, isDryRun = false, times = protocolTimes, rules = collectionRules } = options
  expectSound(times)
  const runId = newId()
  const report = emptyReport(runId, isDryRun, new Date(options.machine.readClocks().wallMs))
  const store = wrapStore(options.store, async (_call, _options, work) => {
    report.requests += 1
    return await work()
  })
  const run: Run = { options, store, runId, times, rules, report, probes: [] }
  try {
    await collect(run)
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof PlatformError)) throw error
    report.stopped = { code: error.code, message: error.message }
  } finally {
    await forgetProbes(run)
  }
  return report
}

async function collect(run: Run): Promise<void> {
  const found = await findAll(run)
  const plan = planCollection(found, run.rules, { now: found.now, times: run.times })
  tell(run, found, plan)
  if (!run.report.isDryRun) await carryOut(run, found, plan)
  else for (const pack of plan.delete) count(run.report.left, pack)
}

/**
 * The order matters: who writes is listed before what there is, so that whoever is not among the writers any more is among
 * the restore points.
 */
async function findAll(run: Run): Promise<RunFindings> {
  const { store, times, rules, options } = run
  const { context, signal, onProgress } = options
  const newest = new NewestObject()
  const began = await probe(run)
  const sessions = await surveySessions(store, context, newest, { signal })
  const lists = await surveyCondemned(store, context, newest, { signal })
  const watch = new Set(sessions.flatMap(({ fence }) => fence?.content.restorePointId ?? []))
  const mark = await markReferences({
    store,
    context,
    newest,
    watch,
    signal,
    onProgress: (done, total) => onProgress?.({ step: 'marking', done, total }),
  })
  const packs = await listPacks(run, newest)
  const now = await probe(run)
  newest.expectOlderThan(now.storeMs, times.clockSlackMs)
  if (!rules.isSound(began, { now, times })) {
    throw new PlatformError('repository.clock_jumped', 'the clock of the store or of this machine was set meanwhile')
  }
  const { referenced, orphans, watched } = mark
  const isListed = (packId: string): boolean => packs.has(packId)
  const voids = await findVoidPoints({ store, watched, sessions, isListed, signal })
  // What came while it looked is judged by when it began to look.
  return { sessions, lists, mark, referenced, orphans, packs, voids, now: began }
}

/** What time it is by the store's clock: that of an object that was put now. */
async function probe(run: Run): Promise<StoreInstant> {
  for (let attempt = 1; ; attempt += 1) {
    const { instant, tookMs } = await probeOnce(run)
    // One that was long under way says little.
    if (tookMs <= run.times.clockSlackMs / 2 || attempt === PROBES_MAX) return instant
  }
}

async function probeOnce({ store, runId, options, probes }: Run) {
  const { context, agentId, machine, signal } = options
  const before = machine.readClocks()
  const counter = probes.length
  const key = leaseKey({ writerId: runId, counter })
  probes.push(key)
  const beganAt = new Date(before.wallMs)
  const lease: Lease = {
    version: 1,
    role: 'collector',
    writerId: runId,
    counter,
    agentId,
    holder: machine.holder,
    generation: generationOf(beganAt),
    beganAt: beganAt.toISOString(),
  }
  await store.put(key, encodeLease(lease, context), { signal })
  const facts = await store.find(key, { signal })
  if (facts === undefined) throw new PlatformError('storage.not_found', `${key} is gone as soon as it was put`)
  const clocks = machine.readClocks()
  return { instant: { storeMs: facts.modifiedAt.getTime(), clocks }, tookMs: clocks.upMs - before.upMs }
}

/** They would be taken for a collection that runs; what is left of them a later one clears. */
async function forgetProbes({ store, probes, options }: Run): Promise<void> {
  for (const key of probes) await store.delete(key, { signal: options.signal }).catch(() => undefined)
}

async function listPacks({ store, options }: Run, newest: NewestObject): Promise<Map<string, StoredPack>> {
  const packs = new Map<string, StoredPack>()
  for await (const facts of listObjects(store, prefixes.packs, { signal: options.signal })) {
    const place = parsePackKey(facts.key)
    if (place === undefined) continue
    newest.see(facts)
    packs.set(place.packId, { ...place, sizeBytes: facts.sizeBytes, putMs: facts.modifiedAt.getTime() })
  }
  return packs
}

function tell({ report }: Run, found: RunFindings, plan: CollectionPlan): void {
  report.restorePoints = found.mark.points
  for (const pack of found.packs.values()) count(report.stored, pack)
  for (const pack of plan.condemn) count(report.condemned, pack)
  for (const pack of plan.spared) count(report.spared, pack)
  report.waiting.push(...plan.waiting)
}
