import { randomUUID } from 'node:crypto'
import { AlertPage, type AlertView, type ListAlertsInput } from '@sendense/shared/contracts/api/alert-api.ts'
import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { alertSeverities } from '@sendense/shared/domain/alert-severity.ts'
import { and, asc, eq } from 'drizzle-orm'
import fc from 'fast-check'
import postgres from 'postgres'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { findBrokenAudit } from '../audit/audit-chain.ts'
import type { TenantContext } from '../db/database.ts'
import { auditEntry } from '../db/schema/ledgers.ts'
import { alert } from '../db/schema/protection.ts'
import { startTestDatabase, type TestDatabase } from '../db/testing/test-database.ts'
import { seedCustomer, type SeededCustomer, seedMsp } from '../testing/seed-tenant.ts'
import { acknowledgeAlerts } from './acknowledge-alerts.ts'
import { countOpenAlerts, listAlerts } from './alert-views.ts'

const now = new Date('2026-11-25T12:00:00.000Z')
let server: TestDatabase
let mspId: string
let own: SeededCustomer
let everything: TenantContext

beforeAll(async () => {
  server = await startTestDatabase()
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
})
beforeEach(async () => {
  mspId = await seedMsp(server.database, 'msp')
  own = await seedCustomer(server.database, mspId, 'own')
  everything = { mspId, customers: 'all' }
  await server.database.withSystem('test', (tx) => tx.delete(alert).where(eq(alert.agentId, own.agentId)))
})

interface Raised {
  readonly severity?: AlertView['severity']
  readonly minutesAgo?: number
  readonly details?: ErrorReport['details']
  readonly of?: SeededCustomer
}

async function raise({ severity = 'critical', minutesAgo = 0, details = {}, of = own }: Raised = {}): Promise<string> {
  const id = randomUUID()
  const { customerId, agentId } = of
  const error = { code: 'command.replayed', message: 'm', advice: 'a', details }
  const raisedAt = new Date(now.getTime() - minutesAgo * 60_000)
  await server.database.withSystem('test', (tx) =>
    tx.insert(alert).values({ mspId, customerId, id, agentId, severity, error, raisedAt }),
  )
  return id
}

const list = (filter: ListAlertsInput = {}, context = everything) =>
  server.database.withTenant(context, async (tx) => AlertPage.parse(await listAlerts(tx, filter)))
const idsOf = async (filter: ListAlertsInput = {}, context = everything) =>
  (await list(filter, context)).alerts.map((found) => found.alertId)
const acknowledge = (alertIds: string[], email = 'a@example.com', at = now) =>
  server.database.withTenant(everything, (tx) => acknowledgeAlerts(tx, alertIds, { email, now: at }))
const audited = () =>
  server.database.withSystem('test', (tx) =>
    tx
      .select()
      .from(auditEntry)
      .where(and(eq(auditEntry.mspId, mspId), eq(auditEntry.action, 'alert.acknowledged')))
      .orderBy(asc(auditEntry.sequence)),
  )

describe('the list', () => {
  test('says of each alert what it is, whose, where and about which VM', async () => {
    const details = { vmId: own.vmId, withheldBefore: 3 }
    const alertId = await raise({ details, minutesAgo: 5 })
    const { alerts, nextCursor } = await list()
    expect(alerts).toEqual([
      {
        alertId,
        severity: 'critical',
        agentId: own.agentId,
        hostname: 'host',
        siteId: own.siteId,
        siteName: 'Site',
        customerId: own.customerId,
        customerName: 'own',
        vm: { vmId: own.vmId, name: 'vm' },
        error: { code: 'command.replayed', message: 'm', advice: 'a', details },
        raisedAt: '2026-11-25T11:55:00.000Z',
        acknowledged: null,
      },
    ])
    expect(nextCursor).toBeNull()
  })

  test('pages follow each other newest first, without gap or repetition, also within one moment', async () => {
    const size = fc.integer({ min: 1, max: 7 })
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 12 }), size, async (ages, limit) => {
        await server.database.withSystem('test', (tx) => tx.delete(alert).where(eq(alert.agentId, own.agentId)))
        for (const minutesAgo of ages) await raise({ minutesAgo })
        const seen: AlertView[] = []
        let cursor: ListAlertsInput['cursor']
        do {
          const page: AlertPage = await list({ limit, ...(cursor === undefined ? {} : { cursor }) })
          expect(page.alerts.length).toBe(Math.min(limit, ages.length - seen.length))
          seen.push(...page.alerts)
          cursor = page.nextCursor ?? undefined
        } while (cursor !== undefined)
        expect(new Set(seen.map((found) => found.alertId)).size).toBe(ages.length)
        const times = seen.map((found) => found.raisedAt)
        expect(times).toEqual(times.toSorted().toReversed())
      }),
      { numRuns: 15 },
    )
  })

  test('an alert that arrives meanwhile neither repeats nor hides one on the next page', async () => {
    const old = [await raise({ minutesAgo: 30 }), await raise({ minutesAgo: 20 }), await raise({ minutesAgo: 10 })]
    const first = await list({ limit: 2 })
    await raise({ minutesAgo: 0 })
    const { nextCursor } = first
    if (nextCursor === null) throw new Error('a page follows')
    const second = await idsOf({ limit: 2, cursor: nextCursor })
    expect([...first.alerts.map((found) => found.alertId), ...second]).toEqual(old.toReversed())
  })

  test('filters by state, severity, site and agent, alone and together', async () => {
    const beside = await seedCustomer(server.database, mspId, 'second agent', own)
    await server.database.withSystem('test', (tx) => tx.delete(alert).where(eq(alert.agentId, beside.agentId)))
    const critical = await raise({ severity: 'critical', minutesAgo: 1 })
    const info = await raise({ severity: 'info', minutesAgo: 2 })
    const seen = await raise({ severity: 'warning', minutesAgo: 3 })
    const other = await raise({ severity: 'critical', minutesAgo: 4, of: beside })
    await acknowledge([seen])
    expect(await idsOf()).toEqual([critical, info, seen, other])
    expect(await idsOf({ state: 'open' })).toEqual([critical, info, other])
    expect(await idsOf({ state: 'acknowledged' })).toEqual([seen])
    expect(await idsOf({ severity: ['critical'] })).toEqual([critical, other])
    expect(await idsOf({ severity: ['info', 'warning'] })).toEqual([info, seen])
    expect(await idsOf({ agentId: beside.agentId })).toEqual([other])
    expect(await idsOf({ siteId: own.siteId })).toEqual([critical, info, seen])
    expect(await idsOf({ siteId: own.siteId, severity: ['warning'], state: 'open' })).toEqual([])
    expect(await idsOf({ siteId: own.siteId, agentId: beside.agentId })).toEqual([])
  })

  test('open ones are counted by severity, and only those of the context', async () => {
    const stranger = await seedCustomer(server.database, mspId, 'stranger')
    const [first] = [await raise({ severity: 'critical' }), await raise({ severity: 'critical' })]
    await raise({ severity: 'warning' })
    await acknowledge([first])
    const count = (customers: TenantContext['customers']) =>
      server.database.withTenant({ mspId, customers }, (tx) => countOpenAlerts(tx))
    expect(await count([own.customerId])).toEqual({ critical: 1, warning: 1, info: 0 })
    expect(await count([stranger.customerId])).toEqual({ critical: 0, warning: 0, info: 1 })
    expect(await count('all')).toEqual({ critical: 1, warning: 1, info: 1 })
    expect(await count([])).toEqual({ critical: 0, warning: 0, info: 0 })
  })
})

async function vmOf(details: ErrorReport['details']): Promise<AlertView['vm']> {
  const alertId = await raise({ details })
  const found = (await list()).alerts.find((view) => view.alertId === alertId)
  if (found === undefined) throw new Error('what was raised is listed')
  return found.vm
}

describe('the VM of an alert', () => {
  test('is found by VM, restore point and job', async () => {
    const machine = { vmId: own.vmId, name: 'vm' }
    expect(await vmOf({ vmId: own.vmId.toUpperCase() })).toEqual(machine)
    expect(await vmOf({ restorePointId: own.restorePointId })).toEqual(machine)
    expect(await vmOf({ vmId: randomUUID(), jobId: own.jobId })).toEqual(machine)
  })

  test.each<[string, (stranger: SeededCustomer) => ErrorReport['details']]>([
    ['a VM of another agent', ({ vmId }) => ({ vmId })],
    ['a restore point of another agent', ({ restorePointId }) => ({ restorePointId })],
    ['a job of another agent', ({ jobId }) => ({ jobId })],
    ['what is no id', () => ({ vmId: "x' or true --", restorePointId: 7, jobId: true })],
    ['nothing', () => ({})],
  ])('is not believed where the agent names %s', async (_what, detailsOf) => {
    const stranger = await seedCustomer(server.database, mspId, 'second agent', own)
    expect(await vmOf(detailsOf(stranger))).toBeNull()
  })
})

describe('an acknowledgement', () => {
  test('is kept with who and when, and leaves an audit entry that the chain holds', async () => {
    const [first, second] = [await raise({ minutesAgo: 1 }), await raise({ minutesAgo: 2, severity: 'info' })]
    const { alerts, changed } = await acknowledge([second, first], 'ann@example.com')
    expect(alerts.map(({ alertId, acknowledged }) => ({ alertId, acknowledged }))).toEqual(
      [first, second].map((alertId) => ({ alertId, acknowledged: { at: now.toISOString(), by: 'ann@example.com' } })),
    )
    expect(new Set(changed.map((found) => found.alertId))).toEqual(new Set([first, second]))
    const entries = await audited()
    expect(entries).toMatchObject([
      { actor: 'ann@example.com', customerId: own.customerId, at: now },
      { actor: 'ann@example.com', customerId: own.customerId, at: now },
    ])
    expect(entries.map(({ entry }) => (JSON.parse(entry) as { details: unknown }).details)).toEqual([
      { alertId: first, agentId: own.agentId, severity: 'critical', code: 'command.replayed' },
      { alertId: second, agentId: own.agentId, severity: 'info', code: 'command.replayed' },
    ])
    expect(await server.database.withSystem('test', (tx) => findBrokenAudit(tx, mspId))).toBeUndefined()
  })

  test('is given once: a second one changes nothing and leaves no entry', async () => {
    const alertId = await raise()
    await acknowledge([alertId], 'ann@example.com')
    const again = await acknowledge([alertId.toUpperCase(), alertId], 'bob@example.com', new Date())
    expect(again.changed).toEqual([])
    expect(again.alerts).toMatchObject([{ acknowledged: { at: now.toISOString(), by: 'ann@example.com' } }])
    expect(await audited()).toHaveLength(1)
  })

  test('of the same alerts at the same moment, in any order, is given once by one of them', async () => {
    const ids = [await raise(), await raise(), await raise(), await raise()]
    const people = Array.from({ length: 6 }, (_, index) => `person-${index}@example.com`)
    const results = await Promise.all(
      people.map((email, index) => acknowledge(index % 2 === 0 ? ids : ids.toReversed(), email)),
    )
    expect(results.flatMap((result) => result.changed)).toHaveLength(ids.length)
    expect(await audited()).toHaveLength(ids.length)
    const { alerts } = await list()
    expect(new Set(alerts.map((found) => found.acknowledged?.by)).size).toBe(1)
  })

  test('of one that is not there changes none of the others', async () => {
    const stranger = await seedCustomer(server.database, await seedMsp(server.database, 'other'), 'stranger')
    const alertId = await raise()
    for (const missing of [randomUUID(), stranger.alertId]) {
      await expect(acknowledge([alertId, missing])).rejects.toMatchObject({ code: 'resource.not_found' })
    }
    expect(await idsOf({ state: 'open' })).toEqual([alertId])
    expect(await audited()).toEqual([])
  })

  test('is all that people can change of an alert, and needs both who and when', async () => {
    const alertId = await raise()
    const app = postgres(server.appUrl, { max: 1, onnotice: () => undefined })
    const attempt = async (change: string): Promise<string> => {
      const work = app.begin(async (tx) => {
        await tx`select set_config('sendense.context', ${`${mspId}|all`}, true)`
        await tx.unsafe(`update alert set ${change} where id = '${alertId}'`)
      })
      return await work.then(
        () => 'done',
        (error: unknown) => (error instanceof postgres.PostgresError ? error.code : String(error)),
      )
    }
    for (const column of ['severity', 'error', 'raised_at', 'agent_id', 'customer_id', 'id']) {
      expect({ column, outcome: await attempt(`${column} = ${column}`) }).toEqual({ column, outcome: '42501' })
    }
    expect(await attempt('acknowledged_at = now()')).toBe('23514')
    expect(await attempt("acknowledged_by = 'x'")).toBe('23514')
    expect(await attempt("acknowledged_at = now(), acknowledged_by = 'x'")).toBe('done')
    await app.end()
  })
})

test('every severity that is known can be stored', async () => {
  for (const severity of alertSeverities) await raise({ severity })
  expect((await list()).alerts.map((found) => found.severity).toSorted()).toEqual(alertSeverities.toSorted())
})
