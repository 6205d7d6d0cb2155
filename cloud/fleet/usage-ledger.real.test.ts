import { randomUUID } from 'node:crypto'
import { describeUsageLedger } from '@sendense/billing/metering/usage-ledger.conformance.ts'
import type { UsageLedger } from '@sendense/billing/metering/usage-ledger.ts'
import { afterAll, beforeAll } from 'vitest'
import { agent } from '../db/schema/fleet.ts'
import { startTestDatabase, type TestDatabase } from '../db/testing/test-database.ts'
import { seedCustomer, seedMsp } from '../testing/seed-tenant.ts'
import { createUsageLedger } from './usage-ledger.ts'

let server: TestDatabase
beforeAll(async () => {
  server = await startTestDatabase()
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
})

describeUsageLedger('PostgreSQL', async () => {
  const { database } = server
  const mspId = await seedMsp(database, 'metered')
  const own = await seedCustomer(database, mspId, 'own')
  const stranger = await seedCustomer(database, mspId, 'stranger')
  const secondAgentId = randomUUID()
  await database.withSystem('test', (tx) =>
    tx.insert(agent).values({
      mspId,
      customerId: own.customerId,
      siteId: own.siteId,
      id: secondAgentId,
      hostname: 'second',
      agentVersion: '0.1.0',
      identityKey: own.agentKey.publicKey,
      protocolMin: 1,
      protocolMax: 1,
      certificateExpiresAt: new Date(),
    }),
  )
  const ledger: UsageLedger = {
    record: (source, facts) => database.withSystem('test', (tx) => createUsageLedger(tx).record(source, facts)),
    list: (range) => database.withSystem('test', (tx) => createUsageLedger(tx).list(range)),
  }
  const { customerId, agentId } = own
  return {
    ledger,
    sources: [
      { mspId, customerId, agentId },
      { mspId, customerId, agentId: secondAgentId },
      { mspId, customerId: stranger.customerId, agentId: stranger.agentId },
    ],
  }
})
