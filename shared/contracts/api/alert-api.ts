import { z } from 'zod'
import { alertSeverities } from '../../domain/alert-severity.ts'
import { ErrorReport } from '../error-report.ts'
import { Instant } from '../identifiers.ts'
import { PAGE_SIZE_MAX } from './protection-api.ts'

/** Something a person should look at. It is open until somebody acknowledges it; it never goes by itself. */
export const AlertView = z.strictObject({
  alertId: z.uuid(),
  severity: z.enum(alertSeverities),
  /** Whose alert it is; the cloud raises some about an agent too. */
  agentId: z.uuid(),
  hostname: z.string(),
  siteId: z.uuid(),
  siteName: z.string(),
  customerId: z.uuid(),
  customerName: z.string(),
  /** The VM it is about, where it is about one of that agent. */
  vm: z.strictObject({ vmId: z.uuid(), name: z.string() }).nullable(),
  /** `alert-words.ts` makes sentences of it. `details.withheldBefore`: so many of the same were not told one by one. */
  error: ErrorReport,
  /** By the clock of who raised it. */
  raisedAt: Instant,
  acknowledged: z.strictObject({ at: Instant, by: z.string() }).nullable(),
})
export type AlertView = z.infer<typeof AlertView>

/** Where a page ended: the last one's `raisedAt`, an underscore, its `alertId`. */
export const AlertCursor = z
  .templateLiteral([Instant, '_', z.uuid()])
  // A part's own bounds do not count in a template.
  .refine((cursor) => Instant.safeParse(cursor.split('_')[0]).success, 'no such time')

export const ListAlertsInput = z.strictObject({
  /** Absent: both. */
  state: z.enum(['open', 'acknowledged']).optional(),
  severity: z.array(z.enum(alertSeverities)).min(1).max(alertSeverities.length).optional(),
  siteId: z.uuid().optional(),
  agentId: z.uuid().optional(),
  /** `nextCursor` of the page before. */
  cursor: AlertCursor.optional(),
  limit: z.int().min(1).max(PAGE_SIZE_MAX).optional(),
})
export type ListAlertsInput = z.infer<typeof ListAlertsInput>

export const AlertPage = z.strictObject({
  alerts: z.array(AlertView),
  /** Null where nothing follows. */
  nextCursor: AlertCursor.nullable(),
})
export type AlertPage = z.infer<typeof AlertPage>

/** How many are open, by severity. */
export const AlertSummary = z.strictObject({
  critical: z.int().nonnegative(),
  warning: z.int().nonnegative(),
  info: z.int().nonnegative(),
})
export type AlertSummary = z.infer<typeof AlertSummary>

export const ALERTS_AT_ONCE_MAX = 100
/** All of them or none. One that is acknowledged already stays as it is. */
export const AcknowledgeAlertsInput = z.strictObject({
  alertIds: z.array(z.uuid()).min(1).max(ALERTS_AT_ONCE_MAX),
})
