import type { RateSchedule } from '@sendense/shared/domain/rate-schedule.ts'
import { expect, test } from 'vitest'
import { keepToSchedule } from './scheduled-rate.ts'
import { SharedThrottle } from './shared-throttle.ts'

const schedule: RateSchedule = {
  zone: 'UTC',
  windows: [{ days: ['mon'], from: '08:00', to: '08:02', bytesPerSecond: 5 }],
}

test('a throttle has the rate of the schedule minute by minute, until it is let go', async () => {
  let nowMs = Date.parse('2026-01-05T07:58:30Z')
  const control = new AbortController()
  const throttle = new SharedThrottle()
  const seen: string[] = []
  const clock = {
    now: () => new Date(nowMs),
    sleep: async (milliseconds: number) => {
      nowMs += milliseconds
      if (nowMs > Date.parse('2026-01-05T08:05:00Z')) control.abort()
    },
  }
  const onRate = (rate: number | undefined): void => {
    seen.push(`${clock.now().toISOString().slice(11, 19)} ${rate} ${throttle.bytesPerSecond}`)
  }
  await keepToSchedule(throttle, schedule, { clock, onRate, signal: control.signal })
  expect(seen).toEqual(['08:00:00 5 5', '08:02:00 undefined undefined'])
})
