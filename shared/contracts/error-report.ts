import { z } from 'zod'

/** An error as it crosses a process boundary. `code` may be one this side does not know yet, so it stays a string. */
export const ErrorReport = z.strictObject({
  code: z.string().regex(/^[a-z]+\.[a-z_]+$/),
  message: z.string().max(4000),
  /** What to do now, in the words of the version that raised it. */
  advice: z.string().max(1000),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
})
export type ErrorReport = z.infer<typeof ErrorReport>
