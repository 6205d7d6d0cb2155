import { randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import { createLogger, type Logger } from '@sendense/shared/runtime/logger.ts'
import { type Database, openDatabase } from '../database.ts'
import { migrate } from '../migrate.ts'
import { startTestPostgres } from './test-postgres.ts'

/** A real PostgreSQL of its own in a temporary directory, migrated; gone when disposed of. */
export interface TestDatabase extends AsyncDisposable {
  readonly database: Database
  readonly ownerUrl: string
  readonly appUrl: string
  readonly systemUrl: string
}

export const quietLogger: Logger = createLogger('test', 'silent')

export async function startTestDatabase(): Promise<TestDatabase> {
  await using stack = new AsyncDisposableStack()
  const password = randomBytes(12).toString('hex')
  const { port } = stack.use(await startTestPostgres(await freePort(), password))
  const url = (role: string) => `postgresql://${role}:${password}@127.0.0.1:${port}/postgres`
  await migrate({ ownerUrl: url('postgres'), appPassword: password, systemPassword: password })
  const addresses = { ownerUrl: url('postgres'), appUrl: url('app'), systemUrl: url('system') }
  const database = stack.use(
    await openDatabase({ url: addresses.appUrl, systemUrl: addresses.systemUrl, logger: quietLogger }),
  )
  const owned = stack.move()
  return { ...addresses, database, [Symbol.asyncDispose]: () => owned.disposeAsync() }
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
