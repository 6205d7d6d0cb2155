import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'

const url = (pattern: RegExp) => z.string().refine((text) => URL.canParse(text) && pattern.test(text), 'not such a URL')

const Environment = z.object({
  SENDENSE_CLOUD_DATABASE_URL: url(/^postgres(ql)?:/),
  SENDENSE_CLOUD_SYSTEM_DATABASE_URL: url(/^postgres(ql)?:/),
  SENDENSE_CLOUD_LISTEN_HOST: z.string().default('127.0.0.1'),
  SENDENSE_CLOUD_LISTEN_PORT: z.coerce.number().int().min(0).max(65_535).default(4400),
  SENDENSE_CLOUD_PUBLIC_URL: url(/^https?:/).default('http://localhost:4400'),
  SENDENSE_CLOUD_DASHBOARD_URL: url(/^http:/).optional(),
  SENDENSE_CLOUD_BROKER_URL: url(/^mqtts:/),
  SENDENSE_CLOUD_AGENT_BROKER_URLS: z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .pipe(z.array(url(/^mqtts:/)).min(1)),
  SENDENSE_CLOUD_KEYS_DIR: z.string().min(1),
  SENDENSE_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
})

export interface CloudConfig {
  readonly databaseUrl: string
  readonly systemDatabaseUrl: string
  readonly listenHost: string
  readonly listenPort: number
  /** The portal's one origin. */
  readonly publicUrl: string
  /** Where pages come from; absent: the API serves alone. */
  readonly dashboardUrl: string | undefined
  readonly brokerUrl: string
  readonly agentBrokerUrls: readonly string[]
  readonly keysDirectory: string
  readonly logLevel: string
}

/** The only reader of the environment. Throws `config.invalid` and names the variable. */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): CloudConfig {
  const parsed = Environment.safeParse(environment)
  if (!parsed.success) {
    throw new PlatformError('config.invalid', `the environment is not complete: ${z.prettifyError(parsed.error)}`)
  }
  const found = parsed.data
  return {
    databaseUrl: found.SENDENSE_CLOUD_DATABASE_URL,
    systemDatabaseUrl: found.SENDENSE_CLOUD_SYSTEM_DATABASE_URL,
    listenHost: found.SENDENSE_CLOUD_LISTEN_HOST,
    listenPort: found.SENDENSE_CLOUD_LISTEN_PORT,
    publicUrl: found.SENDENSE_CLOUD_PUBLIC_URL,
    dashboardUrl: found.SENDENSE_CLOUD_DASHBOARD_URL,
    brokerUrl: found.SENDENSE_CLOUD_BROKER_URL,
    agentBrokerUrls: found.SENDENSE_CLOUD_AGENT_BROKER_URLS,
    keysDirectory: found.SENDENSE_CLOUD_KEYS_DIR,
    logLevel: found.SENDENSE_LOG_LEVEL,
  }
}
