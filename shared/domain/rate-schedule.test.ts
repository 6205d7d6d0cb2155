import { describe, expect, test } from 'vitest'
import { isTimeZone, parseTimeOfDay, rateAt, type RateSchedule, weekdays } from './rate-schedule.ts'

const OFFICE: RateSchedule = {
  zone: 'Europe/Berlin',
  windows: [{ days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '08:00', to: '18:00', bytesPerSecond: 10 }],
}
const NIGHT: RateSchedule = {
  zone: 'Europe/Berlin',
  windows: [{ days: ['fri'], from: '22:00', to: '06:00', bytesPerSecond: 1000 }],
  otherwiseBytesPerSecond: 50,
}

/** Berlin is an hour ahead of UTC in winter, two in summer. */
test.each([
  ['a Monday morning in winter', OFFICE, '2026-01-05T07:00:00Z', 10],
  ['the minute before', OFFICE, '2026-01-05T06:59:59Z', undefined],
  ['the last minute', OFFICE, '2026-01-05T16:59:59Z', 10],
  ['its end', OFFICE, '2026-01-05T17:00:00Z', undefined],
  ['a Monday morning in summer', OFFICE, '2026-07-06T06:00:00Z', 10],
  ['a Saturday', OFFICE, '2026-07-04T08:00:00Z', undefined],
  ['Friday night', NIGHT, '2026-01-09T21:00:00Z', 1000],
  ['the Saturday morning after', NIGHT, '2026-01-10T04:59:00Z', 1000],
  ['its end on Saturday', NIGHT, '2026-01-10T05:00:00Z', 50],
  ['Friday morning', NIGHT, '2026-01-09T04:00:00Z', 50],
  ['Saturday night', NIGHT, '2026-01-10T21:00:00Z', 50],
])('%s', (_name, schedule, instant, rate) => {
  expect(rateAt(schedule, new Date(instant))).toBe(rate)
})

describe('clocks that are changed', () => {
  const early: RateSchedule = {
    zone: 'Europe/Berlin',
    windows: [{ days: ['sun'], from: '02:00', to: '03:00', bytesPerSecond: 7 }],
  }

  test('an hour that is skipped has no window, and the hours around it are as ever', () => {
    // 2026-03-29: 02:00 becomes 03:00 in Berlin, at 01:00 UTC.
    const rates = ['00:59:59', '01:00:00', '01:30:00'].map((time) => rateAt(early, new Date(`2026-03-29T${time}Z`)))
    expect(rates).toEqual([undefined, undefined, undefined])
    expect(rateAt(NIGHT, new Date('2026-03-28T04:30:00Z'))).toBe(1000)
  })

  test('an hour that comes twice has its window twice', () => {
    // 2026-10-25: 03:00 becomes 02:00 in Berlin, at 01:00 UTC.
    const rates = ['23:59:00', '00:00:00', '00:59:00', '01:00:00', '01:59:00', '02:00:00'].map((time, index) => {
      return rateAt(early, new Date(`2026-10-${index === 0 ? 24 : 25}T${time}Z`))
    })
    expect(rates).toEqual([undefined, 7, 7, 7, 7, undefined])
  })

  test('every minute of a year has the rate that its wall clock says', () => {
    const zone = 'America/New_York'
    const schedule: RateSchedule = {
      zone,
      windows: [{ days: ['wed', 'sun'], from: '23:30', to: '01:15', bytesPerSecond: 3 }],
      otherwiseBytesPerSecond: 4,
    }
    const wall = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    })
    for (let at = Date.UTC(2026, 0, 1); at < Date.UTC(2027, 0, 1); at += 15 * 60_000) {
      const text = wall.format(at)
      const inside = /^(Wed|Sun),? 23:(30|45)$|^(Thu|Mon),? (00:..|01:00)$/.test(text)
      expect([text, rateAt(schedule, new Date(at))]).toEqual([text, inside ? 3 : 4])
    }
  })
})

test('where windows overlap the lowest rate holds, and one without an end is a day long', () => {
  const schedule: RateSchedule = {
    zone: 'UTC',
    windows: [
      { days: [...weekdays], from: '00:00', to: '24:00', bytesPerSecond: 100 },
      { days: ['tue'], from: '12:00', to: '12:00', bytesPerSecond: 20 },
    ],
  }
  const at = (text: string) => rateAt(schedule, new Date(text))
  expect([at('2026-01-06T11:59:00Z'), at('2026-01-06T12:00:00Z')]).toEqual([100, 20])
  expect([at('2026-01-07T11:59:00Z'), at('2026-01-07T12:00:00Z')]).toEqual([20, 100])
})

test('names of zones and times of day', () => {
  expect([isTimeZone('Europe/Berlin'), isTimeZone('UTC'), isTimeZone('Mars/Olympus')]).toEqual([true, true, false])
  expect(['00:00', '24:00', '18:30', '24:01', '8:00', 'noon', ''].map((text) => parseTimeOfDay(text))).toEqual([
    0,
    1440,
    1110,
    undefined,
    undefined,
    undefined,
    undefined,
  ])
})
