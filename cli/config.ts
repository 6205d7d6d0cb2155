import { homedir } from 'node:os'
import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'

const Environment = z.object({
  SENDENSE_URL: z.url({ protocol: /^https?$/ }).optional(),
  SENDENSE_TOKEN: z.string().min(1).optional(),
  XDG_CONFIG_HOME: z.string().min(1).optional(),
})

/** What the environment says; the only reader of it in the client. */
export interface CliConfig {
  /** Origin of the portal. Absent: the session's, else the default. */
  readonly url?: string
  /** Used instead of the stored session. */
  readonly token?: string
  readonly sessionPath: string
}

/** @throws PlatformError `config.invalid` that names the setting */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): CliConfig {
  const set = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
  const parsed = Environment.safeParse(set)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new PlatformError('config.invalid', `${issue?.path.join('.') ?? 'environment'}: ${issue?.message ?? ''}`)
  }
  const { SENDENSE_URL: url, SENDENSE_TOKEN: token, XDG_CONFIG_HOME: configHome } = parsed.data
  return {
    ...(url === undefined ? {} : { url: new URL(url).origin }),
    ...(token === undefined ? {} : { token }),
    sessionPath: join(configHome ?? join(homedir(), '.config'), 'sendense', 'session.json'),
  }
}
