import process from 'node:process'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import { openMariadbCatalogue } from '../catalog/mariadb/mariadb-catalogue.ts'
import { type EdgeAgentConfig, readConfig } from '../config.ts'

const DATABASE_WAIT_MS = 5000

/**
 * Runs one command on the agent's own catalogue, which the agent may be using at the same time.
 * Rejects with `config.invalid`, or with a TimeoutError where the database does not answer within 5 s.
 */
export async function withCatalogue<T>(
  work: (parts: { catalogue: Catalogue; config: EdgeAgentConfig; signal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const config = readConfig(process.env)
  const signal = AbortSignal.timeout(DATABASE_WAIT_MS)
  await using catalogue = await openMariadbCatalogue({
    socketPath: config.databaseSocket,
    databaseName: config.databaseName,
    logger: createLogger('sendense-edge', 'silent'),
    signal,
  })
  return await work({ catalogue, config, signal })
}
