import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestDatabase, type TestDatabase } from '../db/testing/test-database.ts'
import { seedMsp } from '../testing/seed-tenant.ts'
import { appendAudit, findBrokenAudit } from './audit-chain.ts'

let server: TestDatabase
let owner: postgres.Sql
beforeAll(async () => {
  server = await startTestDatabase()
  owner = postgres(server.ownerUrl, { max: 1, onnotice: () => undefined })
})
afterAll(async () => {
  await owner?.end()
  await server?.[Symbol.asyncDispose]()
})

async function chainOf(count: number): Promise<string> {
  const mspId = await seedMsp(server.database, 'audited')
  await Promise.all(
    Array.from({ length: count }, (_, index) =>
      server.database.withTenant({ mspId, customers: 'all' }, (tx) =>
        appendAudit(tx, { mspId, actor: 'a@example.com', action: 'test.done', details: { index }, at: new Date() }),
      ),
    ),
  )
  return mspId
}

const findBroken = (mspId: string) => server.database.withSystem('test', (tx) => findBrokenAudit(tx, mspId))

/** As somebody who owns the whole database would. */
async function tamper(work: (tx: postgres.TransactionSql) => Promise<unknown>): Promise<void> {
  await owner.begin(async (tx) => {
    await tx.unsafe('set local session_replication_role = replica')
    await work(tx)
  })
}

describe('audit chain', () => {
  test('is whole after entries that were added at the same moment', async () => {
    const mspId = await chainOf(20)
    expect(await findBroken(mspId)).toBeUndefined()
  })

  test('shows an edit, a removal, a swap and a cut end', async () => {
    const edited = await chainOf(5)
    await tamper(
      (tx) =>
        tx`update audit_entry set entry = replace(entry, 'test.done', 'test.gone') where msp_id = ${edited} and sequence = 3`,
    )
    expect(await findBroken(edited)).toBe(3)

    const removed = await chainOf(5)
    await tamper((tx) => tx`delete from audit_entry where msp_id = ${removed} and sequence = 2`)
    expect(await findBroken(removed)).toBe(2)

    const swapped = await chainOf(5)
    await tamper(async (tx) => {
      await tx`update audit_entry set sequence = 99 where msp_id = ${swapped} and sequence = 3`
      await tx`update audit_entry set sequence = 3 where msp_id = ${swapped} and sequence = 4`
      await tx`update audit_entry set sequence = 4 where msp_id = ${swapped} and sequence = 99`
    })
    expect(await findBroken(swapped)).toBe(3)

    const cut = await chainOf(5)
    await tamper((tx) => tx`delete from audit_entry where msp_id = ${cut} and sequence > 3`)
    expect(await findBroken(cut)).toBe(4)
  })
})
