import { z } from 'zod'
import { Instant } from '../identifiers.ts'

export const presences = ['online', 'stale', 'offline', 'unknown'] as const

export const AgentView = z.strictObject({
  agentId: z.uuid(),
  siteId: z.uuid(),
  siteName: z.string(),
  customerId: z.uuid(),
  customerName: z.string(),
  hostname: z.string(),
  agentVersion: z.string(),
  /** Derived from `lastSeenAt` and the broker, never stored. */
  presence: z.enum(presences),
  lastSeenAt: Instant.nullable(),
  enrolledAt: Instant,
  clockOffsetMs: z.int().nullable(),
})
export type AgentView = z.infer<typeof AgentView>

export const SiteView = z.strictObject({
  siteId: z.uuid(),
  name: z.string(),
  customerId: z.uuid(),
  customerName: z.string(),
  /** IANA name. */
  timeZone: z.string(),
  agents: z.array(AgentView),
  vmCount: z.int(),
  protectedVmCount: z.int(),
})
export type SiteView = z.infer<typeof SiteView>

export const EnrolmentTokenView = z.strictObject({ token: z.string(), siteId: z.uuid(), expiresAt: Instant })
