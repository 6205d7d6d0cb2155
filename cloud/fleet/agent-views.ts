import type { AgentView, SiteView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { and, asc, eq, isNull, sql } from 'drizzle-orm'
import type { TenantTransaction } from '../db/database.ts'
import { agent } from '../db/schema/fleet.ts'
import { restorePoint, vm } from '../db/schema/protection.ts'
import { customer, site } from '../db/schema/tenancy.ts'
import type { PresenceBoard } from './presence-board.ts'

/** Agents that are not revoked, by host name. */
export async function listAgents(tx: TenantTransaction, presence: PresenceBoard): Promise<AgentView[]> {
  const rows = await tx
    .select({ agent, siteName: site.name, customerName: customer.name })
    .from(agent)
    .innerJoin(site, and(eq(site.mspId, agent.mspId), eq(site.customerId, agent.customerId), eq(site.id, agent.siteId)))
    .innerJoin(customer, and(eq(customer.mspId, agent.mspId), eq(customer.id, agent.customerId)))
    .where(isNull(agent.revokedAt))
    .orderBy(asc(agent.hostname), asc(agent.id))
  return rows.map(({ agent: found, siteName, customerName }) => ({
    agentId: found.id,
    siteId: found.siteId,
    siteName,
    customerId: found.customerId,
    customerName,
    hostname: found.hostname,
    agentVersion: found.agentVersion,
    presence: presence.presenceOf(found.id, found.lastSeenAt),
    lastSeenAt: found.lastSeenAt?.toISOString() ?? null,
    enrolledAt: found.enrolledAt.toISOString(),
    clockOffsetMs: found.clockOffsetMs,
  }))
}

/** Sites with their agents, by name. A VM counts as protected once it has a restore point. */
export async function listSites(tx: TenantTransaction, presence: PresenceBoard): Promise<SiteView[]> {
  const agents = await listAgents(tx, presence)
  const vmsOfSite = sql`from ${vm} v join ${agent} a on a.msp_id = v.msp_id and a.id = v.agent_id
    where a.msp_id = ${site.mspId} and a.site_id = ${site.id} and v.present`
  const hasPoint = sql`exists (select from ${restorePoint} p where p.msp_id = v.msp_id and p.vm_id = v.id)`
  const rows = await tx
    .select({
      site,
      customerName: customer.name,
      vmCount: sql<number | string>`(select count(*) ${vmsOfSite})`,
      protectedVmCount: sql<number | string>`(select count(*) ${vmsOfSite} and ${hasPoint})`,
    })
    .from(site)
    .innerJoin(customer, and(eq(customer.mspId, site.mspId), eq(customer.id, site.customerId)))
    .orderBy(asc(site.name), asc(site.id))
  return rows.map((row) => ({
    siteId: row.site.id,
    name: row.site.name,
    customerId: row.site.customerId,
    customerName: row.customerName,
    timeZone: row.site.timeZone,
    agents: agents.filter((found) => found.siteId === row.site.id),
    vmCount: Number(row.vmCount),
    protectedVmCount: Number(row.protectedVmCount),
  }))
}
