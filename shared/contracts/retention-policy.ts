import { z } from 'zod'
import { isTimeZone } from '../domain/rate-schedule.ts'
import { type RetentionPolicy as DomainRetentionPolicy, retentionRules } from '../domain/retention.ts'

const Count = z.int().min(0).max(10_000).default(0)

/** How many restore points stay, as settings and messages carry it: `{zone, last, hourly, daily, weekly, monthly, yearly}`. */
export const RetentionPolicy: z.ZodType<DomainRetentionPolicy> = z
  .strictObject({
    zone: z.string().refine(isTimeZone, { error: 'must be the name of a time zone, as Europe/Berlin' }),
    last: Count,
    hourly: Count,
    daily: Count,
    weekly: Count,
    monthly: Count,
    yearly: Count,
  })
  .refine((policy) => retentionRules.some((rule) => policy[rule] > 0), {
    error: 'must keep something: one of last, hourly, daily, weekly, monthly, yearly must be more than 0',
  })
