import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { runParallel } from '../../../object-store/run-parallel.ts'
import type { OpenContext } from '../format/object-context.ts'
import {
  manifestKey,
  type ManifestPlace,
  packSetKey,
  type PackPlace,
  type PackSetPlace,
  parseManifestKey,
  parsePackSetKey,
  prefixes,
} from '../format/object-keys.ts'
import { parsePackSet } from '../format/pack-set.ts'
import { listObjects, type NewestObject } from './list-objects.ts'

const READS_AT_ONCE = 32

export interface MarkedPoint extends ManifestPlace {
  /** When the store took its manifest in. */
  readonly putMs: number
  /** Undefined where it has no pack set, which a void one may not have. */
  readonly packs: readonly PackPlace[] | undefined
}

export interface OrphanedSet extends PackSetPlace {
  readonly putMs: number
}

/** What restore points refer to. */
export interface ReferenceMark {
  /** Pack ids. */
  readonly referenced: ReadonlySet<string>
  readonly points: number
  /** Restore points of the writers that were asked for. */
  readonly watched: readonly MarkedPoint[]
  /** Pack sets whose restore point was not found. */
  readonly orphans: readonly OrphanedSet[]
}

export interface MarkOptions extends CallOptions {
  readonly store: ObjectStore
  readonly context: OpenContext
  readonly newest: NewestObject
  /** Restore points whose writers were shut out: they may have no pack set. */
  readonly watch: ReadonlySet<string>
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/**
 * Reads the newest pack set of every restore point. Fails where anything is not as it must be, for then it is not known what
 * is referred to: with `storage.*`; with `repository.object_corrupt` for a manifest without pack set, a pack set that is
 * damaged or forged, and objects among the manifests that are none.
 */
export async function markReferences(options: MarkOptions): Promise<ReferenceMark> {
  const { store, watch, signal, onProgress } = options
  const points = await listPoints(options)
  const sets = await listSets(options)
  const referenced = new Set<string>()
  const watched: MarkedPoint[] = []
  let done = 0
  await runParallel(points, { concurrency: READS_AT_ONCE, signal }, async (point, call) => {
    const packs = await readPacks(options, point, sets.get(nameOf(point)) ?? [], call)
    const isWatched = watch.has(point.restorePointId)
    if (packs === undefined && !isWatched && (await store.find(manifestKey(point), call)) !== undefined) {
      throw corrupt(manifestKey(point), 'the restore point has no pack set')
    }
    for (const { packId } of packs ?? []) referenced.add(packId)
    if (isWatched) watched.push({ ...point, packs })
    onProgress?.((done += 1), points.length)
  })
  const known = new Set(points.map(nameOf))
  const orphans = [...sets].flatMap(([name, ofPoint]) => (known.has(name) ? [] : ofPoint))
  return { referenced, points: points.length, watched, orphans }
}

interface ListedPoint extends ManifestPlace {
  readonly putMs: number
}

async function listPoints({ store, newest, signal }: MarkOptions): Promise<ListedPoint[]> {
  const points: ListedPoint[] = []
  for await (const facts of listObjects(store, prefixes.manifests, { signal })) {
    const place = parseManifestKey(facts.key)
    if (place === undefined) throw corrupt(facts.key, 'it is no manifest, and lies among them')
    newest.see(facts)
    points.push({ ...place, putMs: facts.modifiedAt.getTime() })
  }
  return points
}

/** By restore point, the newest revision first. */
async function listSets({ store, newest, signal }: MarkOptions): Promise<Map<string, OrphanedSet[]>> {
  const sets = new Map<string, OrphanedSet[]>()
  for await (const facts of listObjects(store, prefixes.packSets, { signal })) {
    const place = parsePackSetKey(facts.key)
    if (place === undefined) throw corrupt(facts.key, 'it is no pack set, and lies among them')
    newest.see(facts)
    sets.set(nameOf(place), [{ ...place, putMs: facts.modifiedAt.getTime() }, ...(sets.get(nameOf(place)) ?? [])])
  }
  return sets
}

/** Listings may be late: the first revision is asked for by name, and what is listed may be gone. */
async function readPacks(
  { store, context }: MarkOptions,
  { vmId, restorePointId }: ManifestPlace,
  listed: readonly PackSetPlace[],
  call: CallOptions,
): Promise<readonly PackPlace[] | undefined> {
  const revisions = new Set([...listed.map(({ revision }) => revision), 0])
  for (const revision of revisions) {
    const place = { vmId, restorePointId, revision }
    try {
      return parsePackSet(await store.get(packSetKey(place), call), place, context).packs
    } catch (error) {
      if (!isPlatformError(error, 'storage.not_found')) throw error
    }
  }
  return undefined
}

function nameOf({ vmId, restorePointId }: { readonly vmId: string; readonly restorePointId: string }): string {
  return `${vmId}/${restorePointId}`
}

function corrupt(objectKey: string, why: string): PlatformError {
  return new PlatformError('repository.object_corrupt', `${objectKey}: ${why}`, { details: { objectKey } })
}
