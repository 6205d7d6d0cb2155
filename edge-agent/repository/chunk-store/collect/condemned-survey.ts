import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { type CondemnedList, parseCondemnedList } from '../format/condemned-list.ts'
import type { OpenContext } from '../format/object-context.ts'
import { condemnedListKey, parseCondemnedListKey, parseSweptKey, prefixes } from '../format/object-keys.ts'
import { listObjects, type NewestObject } from './list-objects.ts'

/** A condemned list as it is in the store. */
export interface StoredCondemnedList extends CondemnedList {
  /** When the store took it in. */
  readonly putMs: number
  /** Since when it is known that none of its packs is there. */
  readonly sweptMs: number | undefined
}

/**
 * All condemned lists, the oldest first.
 * Rejects with `storage.*`, and with `repository.*` where one of them cannot be read: what it names is not known.
 */
export async function surveyCondemned(
  store: ObjectStore,
  context: OpenContext,
  newest: NewestObject,
  options: CallOptions,
): Promise<StoredCondemnedList[]> {
  const found = new Map<string, number>()
  const swept = new Map<string, number>()
  for await (const facts of listObjects(store, prefixes.condemnedLists, options)) {
    const list = parseCondemnedListKey(facts.key)
    const marker = parseSweptKey(facts.key)
    const putMs = facts.modifiedAt.getTime()
    if (list !== undefined) found.set(list.runId, putMs)
    if (marker !== undefined) swept.set(marker.runId, putMs)
    if (list !== undefined || marker !== undefined) newest.see(facts)
  }
  const lists: StoredCondemnedList[] = []
  for (const [runId, putMs] of found) {
    try {
      const bytes = await store.get(condemnedListKey(runId), options)
      lists.push({ ...parseCondemnedList(bytes, { runId }, context), putMs, sweptMs: swept.get(runId) })
    } catch (error) {
      // Only listed still: its tombstone was taken away.
      if (!isPlatformError(error, 'storage.not_found')) throw error
    }
  }
  return lists.toSorted((left, right) => left.putMs - right.putMs)
}
