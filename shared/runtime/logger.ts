import { pino } from 'pino'

export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  child(fields: object): Logger
}

/** JSON lines on standard output. Secrets are cut by name wherever they stand one or two levels deep. */
export function createLogger(name: string, level = 'info'): Logger {
  const secrets = ['password', 'token', 'secret', 'privateKey', 'passphrase', 'cookie', 'authorization']
  return pino({
    name,
    level,
    redact: { paths: secrets.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[cut]' },
    timestamp: pino.stdTimeFunctions.isoTime,
  })
}
