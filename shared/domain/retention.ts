/** Rules that keep the newest point of each of so many periods; `last` keeps so many points. */
export const retentionRules = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
export type RetentionRule = (typeof retentionRules)[number]

/** How many of each are kept; 0: the rule keeps nothing. */
export type RetentionCounts = Readonly<Record<RetentionRule, number>>

export interface RetentionPolicy extends RetentionCounts {
  /** IANA name of the time zone whose hours, days, weeks (from Monday), months and years count. */
  readonly zone: string
}

export interface RetentionPoint {
  readonly restorePointId: string
  readonly takenAt: Date
  /** Its last verification passed. */
  readonly verified: boolean
  /** Why somebody holds it, whatever the policy says. */
  readonly hold?: string | undefined
  /** Its storage refuses to delete it before. */
  readonly lockedUntil?: Date | undefined
}

export type KeepReason =
  /** `period`: which hour, day, week, month or year; for `last` its place, 1 being the newest. */
  | { readonly code: RetentionRule; readonly period: string }
  | { readonly code: 'newest' }
  | { readonly code: 'newest-verified' }
  | { readonly code: 'held'; readonly why: string }
  | { readonly code: 'locked'; readonly until: Date }

export interface RetentionDecision {
  readonly point: RetentionPoint
  readonly keep: boolean
  /** All that keep it; none where it is to be deleted. */
  readonly reasons: readonly KeepReason[]
}

/**
 * What a policy keeps of the restore points of one VM in one repository, newest first; this is also the preview.
 *
 * A rule keeps the newest point of each of its newest periods that have one: periods without points do not count, so that
 * a VM that was off keeps what it has. Whatever the policy says, the newest point stays, and the newest that passed its
 * verification, what is held, and what is locked at `now`. Of two points of one instant the one with the greater id is the
 * newer.
 */
export function decideRetention(
  points: readonly RetentionPoint[],
  policy: RetentionPolicy,
  now: Date,
): RetentionDecision[] {
  const ordered = points.toSorted(newestFirst)
  const reasons = new Map<RetentionPoint, KeepReason[]>(ordered.map((point) => [point, []]))
  const keep = (point: RetentionPoint | undefined, reason: KeepReason): void => {
    if (point !== undefined) reasons.get(point)?.push(reason)
  }
  keep(ordered[0], { code: 'newest' })
  keep(
    ordered.find(({ verified }) => verified),
    { code: 'newest-verified' },
  )
  const periodsOf = periodNames(policy.zone)
  for (const rule of retentionRules) {
    for (const [period, point] of newestOfPeriods(
      ordered,
      policy[rule],
      (each, index) => periodsOf(each, index)[rule],
    )) {
      keep(point, { code: rule, period })
    }
  }
  for (const point of ordered) {
    if (point.hold !== undefined) keep(point, { code: 'held', why: point.hold })
    if (point.lockedUntil !== undefined && point.lockedUntil > now) {
      keep(point, { code: 'locked', until: point.lockedUntil })
    }
  }
  return ordered.map((point) => {
    const own = reasons.get(point) ?? []
    return { point, keep: own.length > 0, reasons: own }
  })
}

function newestFirst(a: RetentionPoint, b: RetentionPoint): number {
  return b.takenAt.getTime() - a.takenAt.getTime() || (a.restorePointId < b.restorePointId ? 1 : -1)
}

function newestOfPeriods(
  ordered: readonly RetentionPoint[],
  count: number,
  periodOf: (point: RetentionPoint, index: number) => string,
): Map<string, RetentionPoint> {
  const newest = new Map<string, RetentionPoint>()
  for (const [index, point] of ordered.entries()) {
    if (newest.size >= count) break
    const period = periodOf(point, index)
    if (!newest.has(period)) newest.set(period, point)
  }
  return newest
}

/** The names of all periods that a point is in, by the clocks of a zone. */
function periodNames(zone: string): (point: RetentionPoint, index: number) => Readonly<Record<RetentionRule, string>> {
  const format = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    calendar: 'iso8601',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    hourCycle: 'h23',
    timeZoneName: 'longOffset',
  })
  return ({ takenAt }, index) => {
    const parts = new Map(format.formatToParts(takenAt).map(({ type, value }) => [type, value]))
    const [year = '', month = '', day = ''] = (['year', 'month', 'day'] as const).map((type) => parts.get(type))
    const date = `${year.padStart(4, '0')}-${month}-${day}`
    const offset = (parts.get('timeZoneName') ?? '').replace('GMT', '') || '+00:00'
    return {
      last: String(index + 1),
      // An hour that clocks go through twice in autumn is two: the offset tells them apart.
      hourly: `${date}T${parts.get('hour')}${offset}`,
      daily: date,
      weekly: isoWeek(date),
      monthly: date.slice(0, -3),
      yearly: date.slice(0, -6),
    }
  }
}

const DAY_MS = 86_400_000

/** ISO 8601 week, as `2026-W01`: the week of the year that its Thursday is in. */
function isoWeek(date: string): string {
  const day = new Date(`${date}T00:00:00Z`)
  const thursday = new Date(day.getTime() + (3 - ((day.getUTCDay() + 6) % 7)) * DAY_MS)
  const year = thursday.getUTCFullYear()
  const week = Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * DAY_MS)) + 1
  return `${year}-W${String(week).padStart(2, '0')}`
}
