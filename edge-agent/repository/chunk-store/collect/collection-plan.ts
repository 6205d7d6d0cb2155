import type { PackPlace } from '../format/object-keys.ts'
import type { WaitingList } from './collection-report.ts'
import { type CollectionRules, isOver, isToBeFenced, type RulesContext } from './collection-rules.ts'
import type { StoredCondemnedList } from './condemned-survey.ts'
import type { OrphanedSet } from './mark-references.ts'
import type { SurveyedSession } from './session-survey.ts'

export interface StoredPack extends PackPlace {
  readonly sizeBytes: number
  readonly putMs: number
}

/** What a collection found in the store. */
export interface CollectionFindings {
  readonly sessions: readonly SurveyedSession[]
  readonly lists: readonly StoredCondemnedList[]
  readonly referenced: ReadonlySet<string>
  readonly orphans: readonly OrphanedSet[]
  readonly packs: ReadonlyMap<string, StoredPack>
}

/** What it may do. */
export interface CollectionPlan {
  /** Writers to shut out. */
  readonly fence: readonly SurveyedSession[]
  /** Packs for a new condemned list. */
  readonly condemn: readonly StoredPack[]
  /** A new list is due though it names nothing: it dates what orphaned sets wait for. */
  readonly dateOrphans: boolean
  readonly delete: readonly StoredPack[]
  readonly deleteSets: readonly OrphanedSet[]
  readonly spared: readonly StoredPack[]
  readonly waiting: readonly WaitingList[]
  /** Lists of which no pack is there. */
  readonly empty: readonly StoredCondemnedList[]
}

/** Decides. Every reason not to delete wins over every reason to. */
export function planCollection(
  found: CollectionFindings,
  rules: CollectionRules,
  context: RulesContext,
): CollectionPlan {
  const writers = found.sessions.filter(({ role }) => role === 'writer')
  const active = writers.filter((session) => !isOver(session, rules, context))
  const sorted = found.lists.map((list) => ({ list, why: whyNot(list, active, rules, context) }))
  const ripe = sorted.flatMap(({ list, why }) => (why === undefined ? [list] : []))
  const remaining = (list: StoredCondemnedList) => list.packs.flatMap(({ packId }) => found.packs.get(packId) ?? [])
  const deletable = new Map(ripe.flatMap(remaining).map((pack) => [pack.packId, pack]))
  // What lists name whose age is not known begins to wait anew.
  const sound = sorted.flatMap(({ list, why }) => (why === 'clock' ? [] : list.packs))
  const named = new Set(sound.map(({ packId }) => packId))
  const condemn = [...found.packs.values()].filter((pack) => {
    const isFree = !found.referenced.has(pack.packId) && !named.has(pack.packId)
    return (
      isFree && !rules.isYoung(pack.putMs, context) && !active.some((one) => rules.mayBeOf(one, pack.putMs, context))
    )
  })
  const horizonMs = Math.max(-Infinity, ...ripe.map(({ putMs }) => putMs))
  const newestSoundMs = Math.max(
    -Infinity,
    ...sorted.map(({ list, why }) => (why === 'clock' ? -Infinity : list.putMs)),
  )
  return {
    fence: writers.filter((session) => isToBeFenced(session, rules, context)),
    condemn,
    dateOrphans: found.orphans.some(({ putMs }) => putMs > newestSoundMs),
    delete: [...deletable.values()].filter(({ packId }) => rules.isFree(packId, found.referenced)),
    deleteSets: found.orphans.filter(({ putMs }) => putMs < horizonMs),
    spared: [...deletable.values()].filter(({ packId }) => !rules.isFree(packId, found.referenced)),
    waiting: sorted.flatMap(({ list, why }) => {
      const { length } = remaining(list)
      return why === undefined || length === 0 ? [] : [{ runId: list.runId, packs: length, why }]
    }),
    empty: found.lists.filter((list) => remaining(list).length === 0),
  }
}

function whyNot(
  list: StoredCondemnedList,
  active: readonly SurveyedSession[],
  rules: CollectionRules,
  context: RulesContext,
): WaitingList['why'] | undefined {
  if (!rules.isSound({ storeMs: list.putMs, clocks: list.clocks }, context)) return 'clock'
  if (!rules.isAged(list, context)) return 'grace'
  return active.some((session) => rules.mayHaveMissed(session, list, context)) ? 'session' : undefined
}
