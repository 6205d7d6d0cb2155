import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seedDemo, type DemoTenant } from '../cli/seed-demo.ts'
import { type Cloud, startCloud } from '../cloud.ts'
import type { CloudConfig } from '../config.ts'
import { quietLogger, startTestDatabase, type TestDatabase } from '../db/testing/test-database.ts'
import { initKeys } from '../fleet/keys/key-directory.ts'
import { startTestBroker, type TestBroker } from './test-broker.ts'

/** A whole cloud node with its own PostgreSQL and Mosquitto, and the demo tenant in it. */
export interface TestCloud extends AsyncDisposable {
  readonly origin: string
  readonly broker: TestBroker
  readonly postgres: TestDatabase
  readonly demo: DemoTenant
  readonly password: string
  /** Ends the node and starts it again on the same database. */
  restart(): Promise<void>
}

export async function startTestCloud(): Promise<TestCloud> {
  await using stack = new AsyncDisposableStack()
  const keysDirectory = await mkdtemp(join(tmpdir(), 'sendense-keys-'))
  stack.defer(() => rm(keysDirectory, { recursive: true, force: true }))
  await initKeys(keysDirectory, ['127.0.0.1'], new Date())
  const postgres = stack.use(await startTestDatabase())
  const broker = stack.use(await startTestBroker(keysDirectory))
  const password = 'correct horse battery'
  const demo = await postgres.database.withSystem('test', (tx) =>
    seedDemo(tx, { email: 'owner@example.com', password }, new Date()),
  )
  const config: CloudConfig = {
    databaseUrl: postgres.appUrl,
    systemDatabaseUrl: postgres.systemUrl,
    listenHost: '127.0.0.1',
    listenPort: 0,
    publicUrl: 'http://localhost:4400',
    dashboardUrl: undefined,
    brokerUrl: broker.url,
    agentBrokerUrls: [broker.url],
    keysDirectory,
    logLevel: 'silent',
  }
  let cloud: Cloud = await startCloud(config, quietLogger)
  stack.defer(() => cloud[Symbol.asyncDispose]())
  const { port } = cloud
  const owned = stack.move()
  return {
    origin: `http://127.0.0.1:${port}`,
    broker,
    postgres,
    demo,
    password,
    async restart() {
      await cloud[Symbol.asyncDispose]()
      cloud = await startCloud({ ...config, listenPort: port }, quietLogger)
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
