import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { parseFence } from '../format/fence.ts'
import { type Lease, parseLease } from '../format/lease.ts'
import type { OpenContext } from '../format/object-context.ts'
import { fenceKey, leaseKey, parseLeaseKey, prefixes } from '../format/object-keys.ts'
import type { SessionFacts } from './collection-rules.ts'
import { listObjects, type NewestObject } from './list-objects.ts'

export interface SurveyedSession extends SessionFacts {
  /** Counters of its heartbeats, ascending. */
  readonly beats: readonly number[]
  /** What one of them says; undefined where none can be read: it is taken for a writer's. */
  readonly lease: Lease | undefined
}

interface Heartbeats {
  readonly beats: Map<number, number>
  fencePutMs: number | undefined
}

/**
 * Who writes to the repository or collects in it, or did and was shut out.
 * Rejects with `storage.*`, and with `repository.*` where a fence cannot be read.
 */
export async function surveySessions(
  store: ObjectStore,
  context: OpenContext,
  newest: NewestObject,
  options: CallOptions,
): Promise<SurveyedSession[]> {
  const found = new Map<string, Heartbeats>()
  for await (const facts of listObjects(store, prefixes.leases, options)) {
    const place = parseLeaseKey(facts.key)
    if (place === undefined) continue
    newest.see(facts)
    const session = found.get(place.writerId) ?? { beats: new Map<number, number>(), fencePutMs: undefined }
    found.set(place.writerId, session)
    if ('fenced' in place) session.fencePutMs = facts.modifiedAt.getTime()
    else session.beats.set(place.counter, facts.modifiedAt.getTime())
  }
  const sessions: SurveyedSession[] = []
  for (const [writerId, heartbeats] of found) {
    sessions.push(await readSession(store, context, writerId, heartbeats, options))
  }
  return sessions
}

async function readSession(
  store: ObjectStore,
  context: OpenContext,
  writerId: string,
  { beats, fencePutMs }: Heartbeats,
  options: CallOptions,
): Promise<SurveyedSession> {
  const counters = [...beats.keys()].toSorted((left, right) => left - right)
  const lease = await readLease(store, context, { writerId, counters }, options)
  return {
    writerId,
    beats: counters,
    lease,
    role: lease?.role ?? 'writer',
    beganMs: beats.get(0),
    newestBeatMs: Math.max(-Infinity, ...beats.values()),
    fence: fencePutMs === undefined ? undefined : await readFence(store, context, writerId, fencePutMs, options),
  }
}

async function readFence(
  store: ObjectStore,
  context: OpenContext,
  writerId: string,
  putMs: number,
  options: CallOptions,
): Promise<SessionFacts['fence']> {
  try {
    const content = parseFence(await store.get(fenceKey(writerId), options), { writerId }, context)
    return { putMs, content }
  } catch (error) {
    // Only listed still: somebody takes it away to put it anew.
    if (isPlatformError(error, 'storage.not_found')) return undefined
    throw error
  }
}

/** The newest heartbeat that can be read. */
async function readLease(
  store: ObjectStore,
  context: OpenContext,
  { writerId, counters }: { readonly writerId: string; readonly counters: readonly number[] },
  options: CallOptions,
): Promise<Lease | undefined> {
  for (const counter of counters.toReversed()) {
    const place = { writerId, counter }
    try {
      return parseLease(await store.get(leaseKey(place), options), place, context)
    } catch (error) {
      const isGone = isPlatformError(error, 'storage.not_found')
      if (!isGone && !isPlatformError(error, 'repository.object_corrupt')) throw error
    }
  }
  return undefined
}
