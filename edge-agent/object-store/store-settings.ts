import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { z } from 'zod'

/** @param of what the settings are of, for people. Throws `config.invalid`, which names what is missing or wrong. */
export function parseSettings<S extends z.ZodType>(schema: S, settings: unknown, of: string): z.infer<S> {
  const parsed = schema.safeParse(settings)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new PlatformError('config.invalid', `settings of the ${of} are missing or wrong: ${problems.join('; ')}`)
}
