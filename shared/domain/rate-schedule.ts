export const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export type Weekday = (typeof weekdays)[number]

/** A time of day on some days, when a rate holds. */
export interface RateWindow {
  /** Days on which it begins. */
  readonly days: readonly Weekday[]
  /** `HH:MM` of the zone's clocks, 00:00 to 23:59. */
  readonly from: string
  /** `HH:MM`, 00:00 to 24:00, not included. At or before `from` it is of the day after. */
  readonly to: string
  readonly bytesPerSecond: number
}

/** How fast data may be moved, by the clocks on the wall. Where windows overlap the lowest rate holds. */
export interface RateSchedule {
  /** IANA name of a time zone, as `Europe/Berlin`. */
  readonly zone: string
  readonly windows: readonly RateWindow[]
  /** Outside all windows. Absent: unlimited. */
  readonly otherwiseBytesPerSecond?: number | undefined
}

/** Whether it is the name of a time zone. */
export function isTimeZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat('en-GB', { timeZone: zone }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

/** Minutes since midnight, or undefined unless it is a time from 00:00 to 24:00. */
export function parseTimeOfDay(text: string): number | undefined {
  const [, hours = '', minutes = ''] = /^([0-9]{2}):([0-5][0-9])$/.exec(text) ?? []
  const total = Number(hours) * 60 + Number(minutes)
  return hours !== '' && total <= 24 * 60 ? total : undefined
}

/**
 * The rate at an instant, in bytes per second; undefined: unlimited. Hours that clocks skip in spring have no windows, those they go
 * through twice in autumn have theirs twice.
 */
export function rateAt(schedule: RateSchedule, instant: Date): number | undefined {
  const local = localTime(schedule.zone, instant)
  const open = schedule.windows.filter((window) => isOpen(window, local))
  if (open.length === 0) return schedule.otherwiseBytesPerSecond
  return Math.min(...open.map(({ bytesPerSecond }) => bytesPerSecond))
}

interface LocalTime {
  readonly day: Weekday
  readonly dayBefore: Weekday
  /** Since midnight. */
  readonly minutes: number
}

function isOpen({ days, from, to }: RateWindow, { day, dayBefore, minutes }: LocalTime): boolean {
  const start = parseTimeOfDay(from) ?? 0
  const end = parseTimeOfDay(to) ?? 0
  if (start < end) return days.includes(day) && minutes >= start && minutes < end
  return (days.includes(day) && minutes >= start) || (days.includes(dayBefore) && minutes < end)
}

function localTime(zone: string, instant: Date): LocalTime {
  const format = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  const parts = new Map(format.formatToParts(instant).map(({ type, value }) => [type, value]))
  const index = weekdays.findIndex((day) => day === parts.get('weekday')?.toLowerCase())
  return {
    day: weekdays[index] ?? 'mon',
    dayBefore: weekdays[(index + 6) % 7] ?? 'sun',
    minutes: Number(parts.get('hour')) * 60 + Number(parts.get('minute')),
  }
}
