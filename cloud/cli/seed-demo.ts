import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { and, eq } from 'drizzle-orm'
import type { Transaction } from '../db/resilient-pool.ts'
import { customer, membership, msp, site, userAccount } from '../db/schema/tenancy.ts'
import { hashPassword, isPassword } from '../identity/password.ts'

const names = { msp: 'Northwind Managed Services', customer: 'Acme Manufacturing', site: 'Head office' }

export interface DemoTenant {
  readonly mspId: string
  readonly customerId: string
  readonly siteId: string
  readonly ownerEmail: string
}

/**
 * One MSP with its owner, a customer and a site; run again it finds them, and sets the password where it
 * changed.
 */
export async function seedDemo(
  tx: Transaction,
  owner: { email: string; password: string },
  now: Date,
): Promise<DemoTenant> {
  const email = owner.email.toLowerCase()
  const user = await ensureUser(tx, email, owner.password, now)
  const [member] = await tx.select().from(membership).where(eq(membership.userId, user))
  const mspId = member?.mspId ?? newId(now)
  if (member === undefined) {
    await tx.insert(msp).values({ id: mspId, name: names.msp })
    await tx.insert(membership).values({ mspId, id: newId(now), userId: user, role: 'owner', scope: 'all' })
  }
  const isDemo = and(eq(customer.mspId, mspId), eq(customer.name, names.customer))
  const [found] = await tx.select().from(customer).where(isDemo)
  const customerId = found?.id ?? newId(now)
  if (found === undefined) await tx.insert(customer).values({ mspId, id: customerId, name: names.customer })
  const isPlace = and(eq(site.mspId, mspId), eq(site.customerId, customerId), eq(site.name, names.site))
  const [place] = await tx.select().from(site).where(isPlace)
  const siteId = place?.id ?? newId(now)
  if (place === undefined) {
    await tx.insert(site).values({ mspId, customerId, id: siteId, name: names.site, timeZone: 'Europe/London' })
  }
  return { mspId, customerId, siteId, ownerEmail: email }
}

async function ensureUser(tx: Transaction, email: string, password: string, now: Date): Promise<string> {
  if (password.length < 8) throw new PlatformError('input.invalid', 'owner-password: at least 8 characters')
  const [found] = await tx.select().from(userAccount).where(eq(userAccount.email, email))
  if (found === undefined) {
    const id = newId(now)
    const passwordHash = await hashPassword(password)
    await tx.insert(userAccount).values({ id, email, displayName: 'Demo Owner', passwordHash })
    return id
  }
  if (!(await isPassword(found.passwordHash, password))) {
    const passwordHash = await hashPassword(password)
    await tx.update(userAccount).set({ passwordHash }).where(eq(userAccount.id, found.id))
  }
  return found.id
}
