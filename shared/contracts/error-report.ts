import { z } from 'zod'

/** More, or longer ones, are no facts any more but a burden. */
export const ERROR_DETAILS_MAX = 32
export const ERROR_DETAIL_LENGTH_MAX = 1000

/** An error as it crosses a process boundary. `code` may be one this side does not know yet, so it stays a string. */
export const ErrorReport = z.strictObject({
  code: z.string().regex(/^[a-z]+\.[a-z_]+$/),
  message: z.string().max(4000),
  /** What to do now, in the words of the version that raised it. */
  advice: z.string().max(1000),
  details: z
    .record(z.string().max(100), z.union([z.string().max(ERROR_DETAIL_LENGTH_MAX), z.number(), z.boolean()]))
    .refine((details) => Object.keys(details).length <= ERROR_DETAILS_MAX, `at most ${ERROR_DETAILS_MAX} details`)
    .default({}),
})
export type ErrorReport = z.infer<typeof ErrorReport>
