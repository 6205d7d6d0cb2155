import { z } from 'zod'
import {
  isTimeZone,
  parseTimeOfDay,
  type RateSchedule as DomainRateSchedule,
  weekdays,
} from '../domain/rate-schedule.ts'

const BytesPerSecond = z.int().min(1)
const TimeOfDay = z.string().refine((text) => parseTimeOfDay(text) !== undefined, { error: 'must be HH:MM' })

/** A rate by the clocks on the wall, as settings and messages carry it. */
export const RateSchedule: z.ZodType<DomainRateSchedule> = z.strictObject({
  zone: z.string().refine(isTimeZone, { error: 'must be the name of a time zone, as Europe/Berlin' }),
  windows: z
    .array(
      z.strictObject({
        days: z.array(z.enum(weekdays)).min(1),
        from: TimeOfDay.refine((text) => text !== '24:00', { error: 'must be before 24:00' }),
        to: TimeOfDay,
        bytesPerSecond: BytesPerSecond,
      }),
    )
    .max(100),
  otherwiseBytesPerSecond: BytesPerSecond.optional(),
})
