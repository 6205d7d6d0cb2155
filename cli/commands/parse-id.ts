import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'

/** @throws PlatformError `input.invalid` that says what is wanted */
export function parseId(text: string, what: string): string {
  const parsed = z.uuid().safeParse(text.toLowerCase())
  if (!parsed.success) throw new PlatformError('input.invalid', `${text} is no id of a ${what}`)
  return parsed.data
}
