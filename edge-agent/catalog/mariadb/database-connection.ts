import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { drizzle, type MySql2Database } from 'drizzle-orm/mysql2'
import { createPool, type Pool } from 'mysql2'

export type Database = MySql2Database
/** What a query runs on: always inside a transaction. */
export type DatabaseTransaction = Parameters<Parameters<Database['transaction']>[0]>[0]

const CONNECTIONS_MAX = 8
const WAITING_MAX = 512

/** @param socketPath unix socket of the MariaDB server; the agent's private instance has no port */
export function createConnectionPool(socketPath: string, databaseName?: string): Pool {
  return createPool({
    socketPath,
    user: 'root',
    ...(databaseName === undefined ? {} : { database: databaseName }),
    connectionLimit: CONNECTIONS_MAX,
    queueLimit: WAITING_MAX,
    connectTimeout: 5000,
    charset: 'utf8mb4_unicode_ci',
    timezone: 'Z',
  })
}

export function createDatabase(pool: Pool): Database {
  return drizzle(pool)
}

/** MariaDB and socket errors after which the same transaction can succeed: server away, connection lost, deadlock. */
const passingCodes: ReadonlySet<string> = new Set([
  'PROTOCOL_CONNECTION_LOST',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'ER_SERVER_SHUTDOWN',
  'ER_CONNECTION_KILLED',
  'ER_NORMAL_SHUTDOWN',
  'ER_CON_COUNT_ERROR',
  'ER_QUERY_INTERRUPTED',
  'ER_LOCK_DEADLOCK',
  'ER_LOCK_WAIT_TIMEOUT',
])

/**
 * `database.unavailable` where waiting helps; a PlatformError unchanged; anything else is a fault of ours and
 * comes back as it is.
 */
export function translateDatabaseError(error: unknown): unknown {
  if (error instanceof PlatformError) return error
  for (let inner: unknown = error; inner instanceof Error; inner = inner.cause) {
    const code = 'code' in inner && typeof inner.code === 'string' ? inner.code : ''
    // mysql2 gives "closed state" errors no code of their own, only the flag.
    const closed = 'fatal' in inner && inner.fatal === true
    if (passingCodes.has(code) || (closed && !code.startsWith('ER_'))) {
      return new PlatformError('database.unavailable', `the catalogue's database does not answer: ${inner.message}`, {
        cause: error,
      })
    }
  }
  return error
}
