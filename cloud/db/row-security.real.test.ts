import { randomUUID } from 'node:crypto'
import { getTableColumns, getTableName, is } from 'drizzle-orm'
import { PgTable } from 'drizzle-orm/pg-core'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { seedCustomer, type SeededCustomer, seedMsp, seedPerson } from '../testing/seed-tenant.ts'
import * as fleet from './schema/fleet.ts'
import * as ledgers from './schema/ledgers.ts'
import * as protection from './schema/protection.ts'
import * as tenancy from './schema/tenancy.ts'
import { startTestDatabase, type TestDatabase } from './testing/test-database.ts'

/** Tables that are no customer's: each with how its rows belong to an MSP, or that no tenant reads it. */
const reviewed: Readonly<Record<string, 'msp' | 'msp-id' | 'platform' | 'history'>> = {
  msp: 'msp',
  membership: 'msp-id',
  audit_head: 'msp-id',
  user_account: 'platform',
  session: 'platform',
  schema_migration: 'history',
}

let postgresServer: TestDatabase
let owner: postgres.Sql
let a1: SeededCustomer
let a2: SeededCustomer
let b1: SeededCustomer
let tables: string[]

beforeAll(async () => {
  postgresServer = await startTestDatabase()
  const { database } = postgresServer
  owner = postgres(postgresServer.ownerUrl, { max: 1, onnotice: () => undefined })
  const mspA = await seedMsp(database, 'A')
  const mspB = await seedMsp(database, 'B')
  a1 = await seedCustomer(database, mspA, 'a1')
  a2 = await seedCustomer(database, mspA, 'a2')
  b1 = await seedCustomer(database, mspB, 'b1')
  await seedPerson(database, mspA, { role: 'owner' })
  await seedPerson(database, mspB, { role: 'owner' })
  const rows = z
    .array(z.object({ name: z.string() }))
    .parse([
      ...(await owner`select relname as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace order by 1`),
    ])
  tables = rows.map((row) => row.name)
})

afterAll(async () => {
  await owner?.end()
  await postgresServer?.[Symbol.asyncDispose]()
})

interface Role {
  readonly role: 'app' | 'system'
  readonly context?: string
  readonly reason?: string
  /** With every privilege and without triggers: what is left are the policies. */
  readonly policiesAlone?: boolean
}

/** Runs one statement as a role in a context, and takes it back. Returns its rows, or the refusal's SQLSTATE. */
async function attempt(as: Role, statement: string, parameters: postgres.ParameterOrJSON<never>[] = []) {
  const undo = new Error('taken back')
  let rows: Record<string, unknown>[] = []
  try {
    await owner.begin(async (tx) => {
      if (as.policiesAlone === true) {
        await tx.unsafe(
          `grant all on all tables in schema public to "${as.role}"; set local session_replication_role = replica`,
        )
      }
      await tx.unsafe(`set local role "${as.role}"`)
      await tx`select set_config('sendense.context', ${as.context ?? ''}, true), set_config('sendense.system_reason', ${as.reason ?? ''}, true)`
      rows = [...(await tx.unsafe<Record<string, unknown>[]>(statement, parameters))]
      throw undo
    })
  } catch (error) {
    if (error === undo) return { rows, refused: undefined }
    if (error instanceof postgres.PostgresError) return { rows: [], refused: error.code }
    throw error
  }
  throw new Error('unreachable')
}

const schemaTables = [tenancy, fleet, protection, ledgers]
  .flatMap((module) => Object.values<unknown>(module))
  .filter((value): value is PgTable => is(value, PgTable))

describe('catalogue', () => {
  test('every table belongs to a customer or is on the reviewed list, and the list names no other', async () => {
    const columns = z
      .array(z.object({ table_name: z.string(), column_name: z.string(), is_nullable: z.string() }))
      .parse([
        ...(await owner`select table_name, column_name, is_nullable from information_schema.columns where table_schema = 'public'`),
      ])
    const ofCustomers = tables.filter((table) => reviewed[table] === undefined && table !== 'customer')
    for (const table of ofCustomers) {
      const own = columns.filter((column) => column.table_name === table)
      const isRequired = (name: string) => own.some((c) => c.column_name === name && c.is_nullable === 'NO')
      expect({ table, mspId: isRequired('msp_id') }).toEqual({ table, mspId: true })
      // An audit entry may concern the whole MSP.
      const belongs = isRequired('customer_id') || table === 'audit_entry'
      expect({ table, belongs }).toEqual({ table, belongs: true })
    }
    expect(ofCustomers.length).toBeGreaterThan(14)
    for (const table of Object.keys(reviewed)) expect(tables).toContain(table)
  })

  test('row-level security is forced on every table that roles can reach, with policies for whom it grants', async () => {
    for (const table of tables.filter((name) => reviewed[name] !== 'history')) {
      const [facts] = await owner`
        select relrowsecurity and relforcerowsecurity as forced,
          has_table_privilege('app', oid, 'select') as app, has_table_privilege('app', oid, 'truncate') as truncates,
          (select array_agg(distinct r.rolname::text order by r.rolname::text) from pg_policy p join pg_roles r on r.oid = any (p.polroles)
            where p.polrelid = c.oid) as roles
        from pg_class c where relname = ${table} and relnamespace = 'public'::regnamespace`
      const roles = reviewed[table] === 'platform' ? ['system'] : ['app', 'system']
      expect({ table, ...facts }).toEqual({ table, forced: true, app: roles.includes('app'), truncates: false, roles })
    }
  })

  test('neither role owns anything, is a superuser or can bypass policies', async () => {
    const rows = await owner`
      select rolname, rolsuper, rolbypassrls, rolcreaterole, (select count(*)::int from pg_class where relowner = r.oid) as owns
      from pg_roles r where rolname in ('app', 'system') order by rolname`
    const harmless = { rolsuper: false, rolbypassrls: false, rolcreaterole: false, owns: 0 }
    expect([...rows]).toEqual([
      { rolname: 'app', ...harmless },
      { rolname: 'system', ...harmless },
    ])
  })

  test('queries see exactly the columns that are there', async () => {
    expect(schemaTables.map((table) => getTableName(table)).toSorted()).toEqual(
      tables.filter((table) => reviewed[table] !== 'history').toSorted(),
    )
    for (const table of schemaTables) {
      const name = getTableName(table)
      const rows = await owner`
        select a.attname as name, a.attnotnull as required from pg_attribute a
        where a.attrelid = ${name}::regclass and a.attnum > 0 and not a.attisdropped order by 1`
      const expected = Object.values(getTableColumns(table))
        .map((column) => ({ name: column.name, required: column.notNull || column.primary }))
        .toSorted((x, y) => (x.name < y.name ? -1 : 1))
      expect({ name, columns: [...rows].toSorted((x, y) => (x['name'] < y['name'] ? -1 : 1)) }).toEqual({
        name,
        columns: expected,
      })
    }
  })

  test('unique indexes begin with the tenant, or are reviewed', async () => {
    const rows = await owner`
      select i.indexrelid::regclass::text as index, a.attname as first from pg_index i
      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indisunique and i.indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)`
    const others = rows.filter((row) => row['first'] !== 'msp_id').map((row) => String(row['index']))
    expect(others.toSorted()).toEqual([
      'agent_id',
      'enrolment_token_hash',
      'msp_pkey',
      'schema_migration_pkey',
      'session_pkey',
      'user_account_email_key',
      'user_account_pkey',
    ])
  })
})

/** The context setting, and who exists in it. */
function contexts(): { name: string; setting: string; sees: (row: Owner) => boolean }[] {
  return [
    { name: 'no context', setting: '', sees: () => false },
    { name: 'all of A', setting: `${a1.mspId}|all`, sees: (row) => row.mspId === a1.mspId },
    {
      name: 'customer a1 of A',
      setting: `${a1.mspId}|${a1.customerId}`,
      sees: (row) => row.mspId === a1.mspId && (row.customerId === a1.customerId || row.customerId === undefined),
    },
    { name: 'an MSP that is not there', setting: `${randomUUID()}|all`, sees: () => false },
    {
      name: 'customers of B under A',
      setting: `${a1.mspId}|${b1.customerId}`,
      sees: (row) => row.mspId === a1.mspId && row.customerId === undefined,
    },
    {
      name: 'an empty list',
      setting: `${a1.mspId}|`,
      sees: (row) => row.mspId === a1.mspId && row.customerId === undefined,
    },
  ]
}

interface Owner {
  readonly mspId: string
  /** Undefined: the table's rows are the MSP's. */
  readonly customerId: string | undefined
}

function ownerOf(table: string, row: Record<string, unknown>): Owner {
  if (reviewed[table] === 'msp') return { mspId: String(row['id']), customerId: undefined }
  const mspId = String(row['msp_id'])
  if (reviewed[table] === 'msp-id') return { mspId, customerId: undefined }
  return { mspId, customerId: String(table === 'customer' ? row['id'] : row['customer_id']) }
}

const tenantTables = () => tables.filter((table) => reviewed[table] !== 'history')

describe('forged access', () => {
  test('every table has rows of A and of B to forge with', async () => {
    for (const table of tenantTables()) {
      const rows = await owner.unsafe<Record<string, unknown>[]>(`select * from "${table}"`)
      expect({ table, enough: rows.length >= 2 }).toEqual({ table, enough: true })
    }
  })

  test('reading shows the rows of the context and no other, in every table and context', async () => {
    for (const table of tenantTables()) {
      const all = await owner.unsafe<Record<string, unknown>[]>(`select * from "${table}"`)
      for (const { name, setting, sees } of contexts()) {
        const { rows, refused } = await attempt({ role: 'app', context: setting }, `select * from "${table}"`)
        const isPlatform = reviewed[table] === 'platform'
        const count = isPlatform ? 0 : all.filter((row) => sees(ownerOf(table, row))).length
        expect({ table, name, refused, count: rows.length }).toEqual({
          table,
          name,
          refused: isPlatform ? '42501' : undefined,
          count,
        })
        expect(rows.every((row) => sees(ownerOf(table, row)))).toBe(true)
      }
    }
  })

  test('nothing of others is changed or removed, in every table and context', async () => {
    for (const table of tenantTables()) {
      const columns = await owner<
        { name: string }[]
      >`select attname as name from pg_attribute where attrelid = ${table}::regclass and attnum > 0`
      for (const { name, setting, sees } of contexts()) {
        const updates = columns.map((column) => `update "${table}" set "${column.name}" = "${column.name}" returning *`)
        for (const statement of [...updates, `delete from "${table}" returning *`]) {
          const as = { role: 'app', context: setting, policiesAlone: true } as const
          const { rows, refused } = await attempt(as, statement)
          const foreign = rows.filter((row) => reviewed[table] === 'platform' || !sees(ownerOf(table, row)))
          expect({ table, name, statement, foreign, refused }).toEqual({
            table,
            name,
            statement,
            foreign: [],
            refused: undefined,
          })
        }
      }
    }
  })

  test('no row of others can be written, in every table and context', async () => {
    for (const table of tenantTables()) {
      const all = await owner.unsafe<Record<string, unknown>[]>(`select * from "${table}"`)
      for (const { name, setting, sees } of contexts()) {
        for (const row of all.filter((found) => reviewed[table] === 'platform' || !sees(ownerOf(table, found)))) {
          const statement = `insert into "${table}" select (jsonb_populate_record(null::"${table}", $1)).*`
          const as = { role: 'app', context: setting, policiesAlone: true } as const
          const { refused } = await attempt(as, statement, [row as never])
          expect({ table, name, refused }).toEqual({ table, name, refused: '42501' })
        }
      }
    }
  })

  test('role app cannot move a row into another tenant', async () => {
    const columns = await owner<{ table: string }[]>`
      select table_name as table from information_schema.column_privileges
      where grantee = 'app' and privilege_type = 'UPDATE' and column_name in ('msp_id', 'customer_id') and table_name <> 'audit_head'`
    expect([...columns]).toEqual([])
  })

  test('role system sees nothing without a reason, and stays inside the tenant it is confined to', async () => {
    for (const table of tenantTables()) {
      const silent = await attempt({ role: 'system' }, `select * from "${table}"`)
      expect({ table, rows: silent.rows }).toEqual({ table, rows: [] })
      const all = await owner.unsafe<Record<string, unknown>[]>(`select * from "${table}"`)
      const stated = await attempt({ role: 'system', reason: 'test' }, `select * from "${table}"`)
      expect({ table, count: stated.rows.length }).toEqual({ table, count: all.length })
      if (reviewed[table] !== undefined || table === 'audit_entry') continue
      const confined = { role: 'system', reason: 'test', context: `${a1.mspId}|${a1.customerId}` } as const
      const inside = await attempt(confined, `select * from "${table}"`)
      expect(inside.rows.map((row) => ownerOf(table, row))).toEqual(
        inside.rows.map(() => ({ mspId: a1.mspId, customerId: a1.customerId })),
      )
      expect(inside.rows.length).toBeGreaterThan(0)
      const foreign = all.find((row) => ownerOf(table, row).customerId === a2.customerId)
      const statement = `insert into "${table}" select (jsonb_populate_record(null::"${table}", $1)).*`
      const forged = await attempt(confined, statement, [foreign as never])
      expect({ table, refused: forged.refused }).toEqual({ table, refused: '42501' })
    }
  })

  test('facts and audit entries cannot be changed or removed, even by role system', async () => {
    for (const table of ['audit_entry', 'usage_fact']) {
      for (const statement of [
        `update "${table}" set msp_id = msp_id`,
        `delete from "${table}"`,
        `truncate "${table}"`,
      ]) {
        const { refused } = await attempt({ role: 'system', reason: 'test' }, statement)
        expect({ statement, refused }).toEqual({ statement, refused: '42501' })
        const asOwner = await owner.unsafe(statement).then(
          () => 'done',
          () => 'refused',
        )
        expect({ statement, asOwner }).toEqual({ statement, asOwner: 'refused' })
      }
    }
  })
})
