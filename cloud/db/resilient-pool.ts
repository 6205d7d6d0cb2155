import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'

export type Transaction = Parameters<Parameters<PostgresJsDatabase['transaction']>[0]>[0]

const CONNECT_TIMEOUT_MS = 10_000

interface PoolOptions {
  readonly url: string
  readonly name: string
  /** Connections at most. */
  readonly size: number
  /** A transaction that takes longer is given up with its pool. */
  readonly transactionTimeoutMs: number
  /** How long transactions of a pool that is given up may go on. */
  readonly drainSeconds: number
  readonly logger: Logger
}

interface Generation {
  readonly client: postgres.Sql
  readonly db: PostgresJsDatabase
}

/**
 * A pool of connections that survives lost sockets. postgres 3.4.9 never writes again on a connection
 * object whose socket died with a write queued (it clears its timer without forgetting it), so no
 * connection object is used after its socket closed: the whole pool is replaced, and the old one is
 * ended once its transactions are through. A deadline on every transaction covers what cannot be seen.
 */
export interface ResilientPool extends AsyncDisposable {
  /** Rejects with what `work` rejects with, or PlatformError `database.unavailable`. */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>
}

export function openResilientPool(options: PoolOptions): ResilientPool {
  let current: Generation | undefined
  let closed = false

  const retire = (generation: Generation, reason: string): void => {
    if (generation !== current) return
    current = undefined
    if (closed) return
    options.logger.warn({ pool: options.name, reason }, 'the database connections are replaced')
    generation.client.end({ timeout: options.drainSeconds }).catch((error: unknown) => {
      options.logger.warn({ pool: options.name, error: String(error) }, 'old database connections did not end')
    })
  }

  const open = (): Generation => {
    // Sockets are opened here because only so every one that closes is seen, in the handshake too.
    const socket = (target: SocketTarget): Promise<Socket> =>
      openSocket(target, () => retire(generation, 'a connection was closed'))
    const settings = {
      max: options.size,
      socket,
      // Its periodic reconnect would look like a lost socket.
      max_lifetime: null,
      // It asks by itself on every new connection, and its rejection is nobody's to catch.
      fetch_types: false,
      onnotice: () => undefined,
      connection: { application_name: `sendense-${options.name}` },
    }
    const client = postgres(options.url, settings)
    const generation: Generation = { client, db: drizzle(client) }
    return generation
  }

  return {
    async transaction(work) {
      if (closed) throw new PlatformError('database.unavailable', `the pool ${options.name} is closed`)
      current ??= open()
      const generation = current
      const deadline = Promise.withResolvers<never>()
      const timer = setTimeout(() => {
        retire(generation, 'a transaction did not end in time')
        deadline.reject(
          new PlatformError('database.unavailable', `no answer within ${options.transactionTimeoutMs} ms`),
        )
      }, options.transactionTimeoutMs)
      try {
        return await Promise.race([generation.db.transaction(work), deadline.promise])
      } catch (error) {
        throw translate(error)
      } finally {
        clearTimeout(timer)
      }
    },
    async [Symbol.asyncDispose]() {
      closed = true
      await current?.client.end({ timeout: options.drainSeconds })
    },
  }
}

/** The driver's own options, as it hands them over. */
interface SocketTarget {
  readonly host: readonly string[]
  readonly port: readonly number[]
  readonly path?: string | false | undefined
}

async function openSocket(target: SocketTarget, onClose: () => void): Promise<Socket> {
  const { path } = target
  const socket =
    typeof path === 'string' && path !== ''
      ? connect({ path })
      : connect({ host: target.host[0] ?? 'localhost', port: target.port[0] ?? 5432 })
  socket.once('close', onClose)
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) })
  } catch (error) {
    socket.destroy()
    throw (
      socket.errored ?? new PlatformError('database.unavailable', 'the database cannot be reached', { cause: error })
    )
  }
  return socket
}

// PostgreSQL, "Error Codes": class 08 connection, 57P01..03 shutdown, 53300 too many connections.
const unavailable =
  /^(08...|57P0[1-3]|53300|CONNECTION_\w+|CONNECT_TIMEOUT|ECONNREFUSED|ECONNRESET|EPIPE|ENOENT|ETIMEDOUT)$/
const sqlState = /^[0-9A-Z]{5}$/
const LAYERS_MAX = 6

/** SQLSTATE or driver code of a database error, however deep it is wrapped; undefined for other errors. */
export function databaseErrorCode(error: unknown): string | undefined {
  for (let layer = error, depth = 0; layer instanceof Error && depth < LAYERS_MAX; layer = layer.cause, depth += 1) {
    if (!('code' in layer) || typeof layer.code !== 'string') continue
    if (sqlState.test(layer.code) || unavailable.test(layer.code)) return layer.code
  }
  return undefined
}

function translate(error: unknown): unknown {
  const code = databaseErrorCode(error)
  if (code === undefined || !unavailable.test(code)) return error
  return new PlatformError('database.unavailable', `the database does not answer (${code})`, { cause: error })
}
