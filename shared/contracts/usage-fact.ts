import { z } from 'zod'
import { Instant } from './identifiers.ts'

/** The meters, each with its base unit: integers only. */
export const usageMeters = {
  'protected-vm': { unit: 'vm', kind: 'gauge' },
  'stored-bytes': { unit: 'byte', kind: 'gauge' },
  'ingress-bytes': { unit: 'byte', kind: 'counter' },
  'egress-bytes': { unit: 'byte', kind: 'counter' },
  'restore': { unit: 'count', kind: 'counter' },
  'verification': { unit: 'count', kind: 'counter' },
} as const satisfies Record<string, { unit: string; kind: 'gauge' | 'counter' }>
export type UsageMeter = keyof typeof usageMeters

/** One measured amount. Append only; (agent, factId) counts once, however often it arrives. */
export const UsageFact = z.strictObject({
  factId: z.uuid(),
  meter: z.enum(Object.keys(usageMeters) as [UsageMeter, ...UsageMeter[]]),
  /** VM or repository it was measured on. */
  resourceId: z.uuid(),
  amount: z.int().nonnegative(),
  at: Instant,
})
export type UsageFact = z.infer<typeof UsageFact>
