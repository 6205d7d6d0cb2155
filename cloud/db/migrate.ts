import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import postgres from 'postgres'
import { z } from 'zod'

const directory = new URL('migrations/', import.meta.url)
/** Any constant: migrations of one database run one after the other. */
const LOCK_KEY = 7_305_160_917
const Applied = z.array(z.object({ name: z.string(), checksum: z.string() }))

/**
 * Brings a database to the newest schema as its owner; each file once, in one transaction each. Creates
 * the roles `app` and `system` of the server, and sets their passwords where given.
 * @returns names of the files that were applied now
 * @throws PlatformError `config.invalid` where an applied file was changed or is gone
 */
export async function migrate(options: {
  ownerUrl: string
  appPassword?: string
  systemPassword?: string
}): Promise<string[]> {
  const client = postgres(options.ownerUrl, { max: 1, onnotice: () => undefined })
  try {
    await client`select pg_advisory_lock(${LOCK_KEY})`
    await ensureRole(client, 'app', options.appPassword)
    await ensureRole(client, 'system', options.systemPassword)
    await client`create table if not exists schema_migration (
      name text primary key, checksum text not null, applied_at timestamptz not null default now())`
    const applied = new Map(
      Applied.parse([...(await client`select name, checksum from schema_migration`)]).map((row) => [
        row.name,
        row.checksum,
      ]),
    )
    const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).toSorted()
    for (const name of applied.keys()) {
      if (!names.includes(name)) throw new PlatformError('config.invalid', `migration ${name} was applied but is gone`)
    }
    const now: string[] = []
    for (const name of names) {
      if (await applyOnce(client, name, applied.get(name))) now.push(name)
    }
    return now
  } finally {
    await client.end({ timeout: 5 })
  }
}

async function applyOnce(client: postgres.Sql, name: string, appliedChecksum: string | undefined): Promise<boolean> {
  const text = await readFile(new URL(name, directory), 'utf8')
  const checksum = createHash('sha256').update(text).digest('hex')
  if (appliedChecksum === checksum) return false
  if (appliedChecksum !== undefined) {
    throw new PlatformError('config.invalid', `migration ${name} was changed after it had been applied`)
  }
  await client.begin(async (tx) => {
    await tx.unsafe(text)
    await tx`insert into schema_migration (name, checksum) values (${name}, ${checksum})`
  })
  return true
}

const Statement = z.tuple([z.object({ statement: z.string() })])

/** Roles belong to the whole server: two databases may create them at the same moment. */
async function ensureRole(client: postgres.Sql, role: 'app' | 'system', password: string | undefined): Promise<void> {
  await client.unsafe(`do $$ begin
    if not exists (select from pg_roles where rolname = '${role}') then create role "${role}" login nobypassrls; end if;
  exception when duplicate_object or unique_violation then null; end $$`)
  if (password === undefined) return
  const [{ statement }] = Statement.parse([
    ...(await client`select format('alter role %I with login password %L', ${role}::text, ${password}::text) as statement`),
  ])
  await client.unsafe(statement)
}
