import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import type { Database } from '../db/database.ts'
import { startTestDatabase, type TestDatabase } from '../db/testing/test-database.ts'
import { seedCustomer, type SeededCustomer, seedMsp } from './seed-tenant.ts'

export interface SeededFleet {
  readonly database: Database
  readonly mspId: string
  /** Another one for each test. */
  readonly own: SeededCustomer
}

/** A PostgreSQL for the tests of a file, and in it a customer with an agent for each of them. Called once, before the tests. */
export function useSeededFleet(): SeededFleet {
  let server: TestDatabase | undefined
  let mspId: string | undefined
  let own: SeededCustomer | undefined
  beforeAll(async () => {
    server = await startTestDatabase()
    mspId = await seedMsp(server.database, 'msp')
  })
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    own = await seedCustomer(begun(server).database, begun(mspId), randomUUID())
  })
  return {
    get database() {
      return begun(server).database
    },
    get mspId() {
      return begun(mspId)
    },
    get own() {
      return begun(own)
    },
  }
}

function begun<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('no test has begun')
  return value
}
