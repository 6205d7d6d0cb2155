import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock, type Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import type { Pool } from 'mysql2'
import type { PackCatalogue } from '../../repository/chunk-store/index/pack-catalogue.ts'
import type { Catalogue, CatalogueTransaction } from '../catalogue.ts'
import {
  createConnectionPool,
  createDatabase,
  type DatabaseTransaction,
  translateDatabaseError,
} from './database-connection.ts'
import { createMariadbCaptureAgentStore } from './mariadb-capture-agent-store.ts'
import { createMariadbInbox } from './mariadb-inbox.ts'
import { createMariadbJobStore } from './mariadb-job-store.ts'
import { createMariadbOutbox } from './mariadb-outbox.ts'
import { createMariadbPackCatalogue } from './mariadb-pack-catalogue.ts'
import { createMariadbRepositoryStore } from './mariadb-repository-store.ts'
import { createMariadbRestorePointStore } from './mariadb-restore-point-store.ts'
import { createMariadbSettingStore } from './mariadb-setting-store.ts'
import { createMariadbVmContextStore } from './mariadb-vm-context-store.ts'
import { migrateCatalogue } from './migrate.ts'

export interface MariadbCatalogueOptions {
  readonly socketPath: string
  /** Made if it is not there. Letters, digits and underscore. */
  readonly databaseName: string
  readonly logger: Logger
  readonly clock?: Clock
  readonly signal: AbortSignal
}

/** The catalogue, and what the same database caches of repositories. */
export interface MariadbCatalogue extends Catalogue {
  /** Of one chunk repository. Waits for the database as `transaction` does. */
  packs(repositoryId: string): PackCatalogue
}

/**
 * Opens the catalogue and brings its schema up to date; waits for the server until `signal` aborts.
 * Rejects with `config.invalid` when the schema is newer than this agent.
 */
export async function openMariadbCatalogue(options: MariadbCatalogueOptions): Promise<MariadbCatalogue> {
  const { socketPath, databaseName, signal } = options
  await withRetries(options, async () => await prepareDatabase(socketPath, databaseName))
  const pool = createConnectionPool(socketPath, databaseName)
  const database = createDatabase(pool)
  const listeners = new Set<() => void>()
  signal.throwIfAborted()

  return {
    async transaction(work, { signal: callSignal }) {
      return await withRetries({ ...options, signal: callSignal }, async () => {
        let appended = false
        const result = await database.transaction(async (tx) => {
          appended = false
          return await work(createTransaction(tx, () => (appended = true)))
        })
        if (appended) for (const listener of listeners) listener()
        return result
      })
    },
    packs(repositoryId) {
      return createMariadbPackCatalogue(repositoryId, async (work, { signal: callSignal }) => {
        return await withRetries({ ...options, signal: callSignal }, async () => await database.transaction(work))
      })
    },
    onEventsAppended(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async [Symbol.asyncDispose]() {
      await pool.promise().end()
    },
  }
}

function createTransaction(tx: DatabaseTransaction, onAppend: () => void): CatalogueTransaction {
  const settings = createMariadbSettingStore(tx)
  return {
    settings,
    vms: createMariadbVmContextStore(tx),
    jobs: createMariadbJobStore(tx),
    restorePoints: createMariadbRestorePointStore(tx),
    repositories: createMariadbRepositoryStore(tx),
    captureAgents: createMariadbCaptureAgentStore(tx),
    inbox: createMariadbInbox(tx, settings),
    outbox: createMariadbOutbox(tx, settings, onAppend),
  }
}

async function prepareDatabase(socketPath: string, databaseName: string): Promise<void> {
  const server = createConnectionPool(socketPath)
  try {
    await server.promise().query('CREATE DATABASE IF NOT EXISTS ?? CHARACTER SET utf8mb4', [databaseName])
  } finally {
    await close(server)
  }
  const pool = createConnectionPool(socketPath, databaseName)
  try {
    await migrateCatalogue(pool)
  } finally {
    await close(pool)
  }
}

async function close(pool: Pool): Promise<void> {
  await pool.promise().end()
}

async function withRetries<T>(
  options: Pick<MariadbCatalogueOptions, 'logger' | 'clock' | 'signal'>,
  call: () => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    options.signal.throwIfAborted()
    try {
      return await call()
    } catch (error) {
      const known = translateDatabaseError(error)
      if (!isPlatformError(known, 'database.unavailable')) throw known
      if (attempt % 10 === 1) options.logger.warn({ attempt, err: known }, 'waiting for the database')
      const delayMs = 20 + retryDelayMs(attempt, { baseMs: 50, capMs: 5000 })
      await (options.clock ?? systemClock).sleep(delayMs, { signal: options.signal })
    }
  }
}
