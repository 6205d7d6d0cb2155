import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { sql } from 'drizzle-orm'
import { z } from 'zod'
import { openResilientPool, type ResilientPool, type Transaction } from './resilient-pool.ts'

const APP_POOL_SIZE = 10
const SYSTEM_POOL_SIZE = 6
const TRANSACTION_TIMEOUT_MS = 30_000
const DRAIN_SECONDS = 5

/** Whose rows exist in a transaction. */
export interface TenantContext {
  readonly mspId: string
  /** All customers of the MSP, or the listed ones. */
  readonly customers: 'all' | readonly string[]
}

/** Inside it, rows of other tenants do not exist. */
export type TenantTransaction = Transaction & { readonly __scope?: 'tenant' }
/** Inside it, the platform itself works. */
export type SystemTransaction = Transaction & { readonly __scope?: 'system' }

/**
 * The only way to the tables. Transactions hold one connection: nothing inside them may wait for the
 * network or for people.
 */
export interface Database extends AsyncDisposable {
  /** Runs as role `app`; row-level security shows only the context's rows. */
  withTenant<T>(context: TenantContext, work: (tx: TenantTransaction) => Promise<T>): Promise<T>
  /**
   * Runs as role `system`, for work that belongs to no person's request.
   * @param reason why, in a few words
   * @param options.within confines it to one tenant: row-level security hides everything else
   */
  withSystem<T>(
    reason: string,
    work: (tx: SystemTransaction) => Promise<T>,
    options?: { within?: TenantContext },
  ): Promise<T>
}

/**
 * Opens both pools and refuses to go on with a role that could get around row-level security.
 * @throws PlatformError `config.invalid`, `database.unavailable`
 */
export async function openDatabase(options: { url: string; systemUrl: string; logger: Logger }): Promise<Database> {
  const base = { transactionTimeoutMs: TRANSACTION_TIMEOUT_MS, drainSeconds: DRAIN_SECONDS, logger: options.logger }
  const app = openResilientPool({ ...base, url: options.url, name: 'app', size: APP_POOL_SIZE })
  const system = openResilientPool({ ...base, url: options.systemUrl, name: 'system', size: SYSTEM_POOL_SIZE })
  const dispose = async (): Promise<void> => {
    await Promise.all([app[Symbol.asyncDispose](), system[Symbol.asyncDispose]()])
  }
  try {
    await refusePowerfulRole(app, 'app')
    await refusePowerfulRole(system, 'system')
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    withTenant: (context, work) =>
      app.transaction(async (tx) => {
        await tx.execute(sql`select set_config('sendense.context', ${contextSetting(context)}, true)`)
        return await work(tx)
      }),
    withSystem: (reason, work, { within } = {}) =>
      system.transaction(async (tx) => {
        await enterSystem(tx, reason, within)
        return await work(tx)
      }),
    [Symbol.asyncDispose]: dispose,
  }
}

/** States reason and confinement of a transaction that runs as role `system`. */
export async function enterSystem(tx: Transaction, reason: string, within?: TenantContext): Promise<void> {
  const context = within === undefined ? '' : contextSetting(within)
  await tx.execute(
    sql`select set_config('sendense.system_reason', ${reason}, true), set_config('sendense.context', ${context}, true)`,
  )
}

const Id = z.uuid()

function contextSetting({ mspId, customers }: TenantContext): string {
  const scope = customers === 'all' ? 'all' : customers.map((id) => Id.parse(id)).join(',')
  return `${Id.parse(mspId)}|${scope}`
}

const RolePower = z.tuple([z.object({ name: z.string(), powerful: z.boolean(), owns: z.coerce.number() })])

async function refusePowerfulRole(pool: ResilientPool, wanted: 'app' | 'system'): Promise<void> {
  const rows = await pool.transaction((tx) =>
    tx.execute(sql`
      select current_user as name, (rolsuper or rolbypassrls) as powerful,
        (select count(*) from pg_class where relowner = pg_roles.oid) as owns
      from pg_roles where rolname = current_user`),
  )
  const [role] = RolePower.parse([...rows])
  if (role.name !== wanted || role.powerful || role.owns > 0) {
    throw new PlatformError(
      'config.invalid',
      `the database role must be "${wanted}", own no table and not bypass row-level security; it is "${role.name}"`,
    )
  }
}
