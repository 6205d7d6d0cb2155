import { z } from 'zod'
import { Instant } from '../identifiers.ts'

export const roles = ['owner', 'admin', 'operator', 'restore-operator', 'billing-auditor', 'read-only'] as const

/** Who is logged in, for whom they act, and what they may. */
export const SessionView = z.strictObject({
  userId: z.uuid(),
  email: z.email(),
  displayName: z.string(),
  msp: z.strictObject({ id: z.uuid(), name: z.string() }),
  role: z.enum(roles),
  permissions: z.array(z.string()),
  expiresAt: Instant,
})
export type SessionView = z.infer<typeof SessionView>

export const LogInInput = z.strictObject({ email: z.email().max(254), password: z.string().min(1).max(256) })
/** `token` is returned for command-line clients (`Authorization: Bearer …`); browsers use the cookie. */
export const LogInResult = z.strictObject({ session: SessionView, token: z.string() })
