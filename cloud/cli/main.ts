import { parseArgs } from 'node:util'
import { PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { sql } from 'drizzle-orm'
import { z } from 'zod'
import { enterSystem } from '../db/database.ts'
import { migrate } from '../db/migrate.ts'
import { openResilientPool, type Transaction } from '../db/resilient-pool.ts'
import { createEnrolmentToken } from '../fleet/enrolment-tokens.ts'
import { initKeys } from '../fleet/keys/key-directory.ts'
import { seedDemo } from './seed-demo.ts'

const usage = `node cloud/cli/main.ts init-keys --dir DIR --broker-host HOST [--broker-host HOST …]
  migrate --database-url OWNER_URL [--app-password P] [--system-password P]
  seed-demo --database-url URL --owner-email E --owner-password P
  create-enrolment-token --database-url URL --site-id ID`

/** Each prints one JSON line. */
const commands: Readonly<Record<string, (values: unknown) => Promise<unknown>>> = {
  'init-keys': async (values) => {
    const options = z
      .object({ 'dir': z.string().min(1), 'broker-host': z.array(z.string().min(1)).min(1) })
      .parse(values)
    return { written: await initKeys(options.dir, options['broker-host'], new Date()) }
  },
  'migrate': async (values) => {
    const passwords = { 'app-password': z.string().min(1).optional(), 'system-password': z.string().min(1).optional() }
    const options = z.object({ 'database-url': z.string(), ...passwords }).parse(values)
    const app = options['app-password']
    const system = options['system-password']
    const applied = await migrate({
      ownerUrl: options['database-url'],
      ...(app === undefined ? {} : { appPassword: app }),
      ...(system === undefined ? {} : { systemPassword: system }),
    })
    return { applied }
  },
  'seed-demo': async (values) => {
    const options = z
      .object({ 'database-url': z.string(), 'owner-email': z.email(), 'owner-password': z.string() })
      .parse(values)
    const owner = { email: options['owner-email'], password: options['owner-password'] }
    return await asSystem(options['database-url'], 'seed the demo', (tx) => seedDemo(tx, owner, new Date()))
  },
  'create-enrolment-token': async (values) => {
    const options = z.object({ 'database-url': z.string(), 'site-id': z.uuid() }).parse(values)
    const order = { siteId: options['site-id'], createdBy: 'cloud', now: new Date() }
    return await asSystem(options['database-url'], 'make an enrolment token', (tx) => createEnrolmentToken(tx, order))
  },
}

/** The URL may be the owner's: the work is done as role `system` all the same. */
async function asSystem<T>(url: string, reason: string, work: (tx: Transaction) => Promise<T>): Promise<T> {
  await using pool = openResilientPool({
    url,
    name: 'cli',
    size: 1,
    transactionTimeoutMs: 30_000,
    drainSeconds: 5,
    logger: createLogger('cloud-cli', 'warn'),
  })
  return await pool.transaction(async (tx) => {
    await tx.execute(sql`set local role "system"`)
    await enterSystem(tx, reason)
    return await work(tx)
  })
}

async function main(): Promise<void> {
  const [name, ...rest] = process.argv.slice(2)
  const run = commands[name ?? '']
  if (run === undefined) throw new PlatformError('input.invalid', `usage: ${usage}`)
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: rest,
    options: {
      'dir': text,
      'broker-host': { type: 'string', multiple: true },
      'database-url': text,
      'app-password': text,
      'system-password': text,
      'owner-email': text,
      'owner-password': text,
      'site-id': text,
    },
  })
  process.stdout.write(`${JSON.stringify(await run(values))}\n`)
}

try {
  await main()
} catch (error) {
  const { code, message, advice } =
    error instanceof z.ZodError
      ? new PlatformError('input.invalid', `${z.prettifyError(error)}\nusage: ${usage}`)
      : toPlatformError(error)
  process.stderr.write(`${code}: ${message}\n${advice}\n`)
  process.exitCode = 1
}
