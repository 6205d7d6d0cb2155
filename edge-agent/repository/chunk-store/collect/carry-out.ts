import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { runParallel } from '../../../object-store/run-parallel.ts'
import { encodeCondemnedList } from '../format/condemned-list.ts'
import { condemnedListKey, fenceKey, leaseKey, packKey, packSetKey, sweptKey } from '../format/object-keys.ts'
import { putFence } from '../lease/put-fence.ts'
import type { Run, RunFindings } from './collect-repository.ts'
import type { CollectionPlan, StoredPack } from './collection-plan.ts'
import { count } from './collection-report.ts'
import { isOver } from './collection-rules.ts'
import { deletePointObjects } from './delete-point-objects.ts'
import { replaceIndexes } from './replace-indexes.ts'
import type { SurveyedSession } from './session-survey.ts'

const DELETES_AT_ONCE = 16
const DELETES_MAX_DEFAULT = 100_000

/** Does what was planned. What it is cut short in the next run plans again. */
export async function carryOut(run: Run, found: RunFindings, plan: CollectionPlan): Promise<void> {
  await fenceDead(run, plan.fence)
  await putList(run, found, plan)
  const deleted = await deletePacks(run, plan.delete)
  await deleteVoidPoints(run, found)
  await deleteOrphans(run, plan)
  await buryLists(run, found, plan)
  await clearSessions(run, found)
  if (deleted.size === 0) return
  const gone = new Set(found.lists.flatMap(({ packs }) => packs.map(({ packId }) => packId)))
  for (const packId of found.packs.keys()) if (!deleted.has(packId)) gone.delete(packId)
  const { store, rules, times, options, report } = run
  const { context, newId, signal } = options
  const isYoung = (putMs: number): boolean => rules.isYoung(putMs, { now: found.now, times })
  report.indexesReplaced = await replaceIndexes({ store, context, newId, gone, isYoung, signal })
}

async function fenceDead({ store, runId, options, report }: Run, dead: readonly SurveyedSession[]): Promise<void> {
  const { context, machine, signal } = options
  for (const { writerId, fence: old, lease } of dead) {
    // One of an unknown age: it is put anew, for its age is what counts.
    if (old !== undefined) await store.delete(fenceKey(writerId), { signal })
    const fence = { writerId, fencedBy: runId, clocks: machine.readClocks() }
    await putFence({ store, context, fence, point: lease ?? old?.content, signal })
    report.fenced.push(writerId)
  }
}

async function putList({ store, runId, options }: Run, found: RunFindings, plan: CollectionPlan): Promise<void> {
  if (plan.condemn.length === 0 && !plan.dateOrphans) return
  const { context, machine, signal } = options
  const condemnedAt = new Date(found.now.storeMs)
  const list = { runId, condemnedAt, clocks: machine.readClocks(), packs: plan.condemn }
  await store.put(condemnedListKey(runId), encodeCondemnedList(list, context), { signal })
}

/** @returns those that are gone */
async function deletePacks({ store, options, report }: Run, packs: readonly StoredPack[]): Promise<Set<string>> {
  const { deletesMax = DELETES_MAX_DEFAULT, context, signal, onProgress } = options
  const sorted = packs.toSorted((left, right) => (left.packId < right.packId ? -1 : 1))
  // Each run begins elsewhere: those that the store protects must not keep it from the others for good.
  const start = Buffer.from(context.randomBytes(20)).toString('hex')
  const turned = [...sorted.filter(({ packId }) => packId >= start), ...sorted.filter(({ packId }) => packId < start)]
  for (const pack of turned.slice(deletesMax)) count(report.left, pack)
  const deleted = new Set<string>()
  let done = 0
  const total = Math.min(turned.length, deletesMax)
  await runParallel(turned.slice(0, deletesMax), { concurrency: DELETES_AT_ONCE, signal }, async (pack, call) => {
    try {
      await store.delete(packKey(pack), call)
      deleted.add(pack.packId)
      count(report.deleted, pack)
    } catch (error) {
      if (!isPlatformError(error, 'storage.immutable')) throw error
      count(report.locked, pack)
    }
    onProgress?.({ step: 'deleting', done: (done += 1), total })
  })
  return deleted
}

async function deleteVoidPoints({ store, options, report }: Run, { voids }: RunFindings): Promise<void> {
  for (const point of voids) {
    await deletePointObjects(store, point, { signal: options.signal })
    report.voidPoints += 1
  }
}

async function deleteOrphans({ store, options, report }: Run, { deleteSets }: CollectionPlan): Promise<void> {
  for (const set of deleteSets) {
    try {
      await store.delete(packSetKey(set), { signal: options.signal })
      report.orphanedSets += 1
    } catch (error) {
      if (!isPlatformError(error, 'storage.immutable')) throw error
    }
  }
}

/** A list stays for some time after the last of its packs: listings may show those still. */
async function buryLists(
  { store, times, rules, options }: Run,
  found: RunFindings,
  plan: CollectionPlan,
): Promise<void> {
  const { signal } = options
  const context = { now: found.now, times }
  const newestMs = Math.max(-Infinity, ...found.lists.map(({ putMs }) => putMs))
  for (const list of plan.empty) {
    const isSound = rules.isSound({ storeMs: list.putMs, clocks: list.clocks }, context)
    // The newest one dates orphaned pack sets.
    if (list.packs.length > 0 && list.sweptMs === undefined) {
      await store.put(sweptKey(list.runId), Buffer.from('swept\n'), { signal })
    } else if (
      isSound &&
      list.putMs < newestMs &&
      found.now.storeMs - (list.sweptMs ?? list.putMs) > times.tombstoneMs
    ) {
      // Cut short here the list is only buried once more.
      await store.delete(sweptKey(list.runId), { signal })
      await store.delete(condemnedListKey(list.runId), { signal })
    }
  }
}

/** Heartbeats of writers that were shut out long ago; the fences stay. And of collections that died. */
async function clearSessions({ store, times, rules, options }: Run, found: RunFindings): Promise<void> {
  const context = { now: found.now, times }
  for (const session of found.sessions) {
    const isCollector = session.role === 'collector'
    if (!(isCollector ? rules.isExpired(session, context) : isOver(session, rules, context))) continue
    for (const counter of session.beats) {
      await store.delete(leaseKey({ writerId: session.writerId, counter }), { signal: options.signal })
    }
  }
}
