const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/**
 * How long ago `at` was, or how far ahead it is, seen from `nowMs`: `just now`, `4 min ago`, `3 h ago`, `2 d ago`,
 * `in 5 min`; beyond 30 days the date in the reader's zone.
 */
export function formatRelativeTime(at: string, nowMs: number): string {
  const deltaMs = nowMs - Date.parse(at)
  const distanceMs = Math.abs(deltaMs)
  if (distanceMs < 45_000) return 'just now'
  if (distanceMs > 30 * DAY_MS) return new Date(at).toLocaleDateString(undefined, { dateStyle: 'medium' })
  const amount = relativeAmount(distanceMs)
  return deltaMs > 0 ? `${amount} ago` : `in ${amount}`
}

function relativeAmount(distanceMs: number): string {
  const minutes = Math.max(1, Math.round(distanceMs / MINUTE_MS))
  if (minutes < 60) return `${minutes} min`
  const hours = Math.round(distanceMs / HOUR_MS)
  return hours < 48 ? `${hours} h` : `${Math.round(distanceMs / DAY_MS)} d`
}

/** The instant with seconds and zone, as the reader's country writes it. */
export function formatDateTime(at: string): string {
  return new Date(at).toLocaleString(undefined, {
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
  })
}

/** Day and minute, for lists in which every row has a time of its own. */
export function formatShortDateTime(at: string): string {
  return new Date(at).toLocaleString(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' })
}

/** Time of day with seconds, for log lines. */
export function formatTimeOfDay(at: string): string {
  return new Date(at).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
}
