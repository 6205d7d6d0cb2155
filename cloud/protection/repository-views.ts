import type { RepositoryView } from '@sendense/shared/contracts/api/protection-api.ts'
import { and, asc, eq, sql } from 'drizzle-orm'
import type { TenantTransaction } from '../db/database.ts'
import { agent } from '../db/schema/fleet.ts'
import { repository, restorePoint } from '../db/schema/protection.ts'
import { site } from '../db/schema/tenancy.ts'

/** Repositories of the tenant by name. */
export async function listRepositories(tx: TenantTransaction): Promise<RepositoryView[]> {
  const points = sql`from ${restorePoint} p where p.msp_id = ${repository.mspId} and p.repository_id = ${repository.id}`
  const rows = await tx
    .select({
      repository,
      siteId: site.id,
      siteName: site.name,
      restorePointCount: sql<number | string>`(select count(*) ${points})`,
      storedBytes: sql<number | string>`(select coalesce(sum(p.stored_bytes), 0) ${points})`,
    })
    .from(repository)
    .innerJoin(
      agent,
      and(
        eq(agent.mspId, repository.mspId),
        eq(agent.customerId, repository.customerId),
        eq(agent.id, repository.agentId),
      ),
    )
    .innerJoin(site, and(eq(site.mspId, agent.mspId), eq(site.customerId, agent.customerId), eq(site.id, agent.siteId)))
    .orderBy(asc(repository.name), asc(repository.id))
  return rows.map((row) => ({
    repositoryId: row.repository.id,
    agentId: row.repository.agentId,
    siteId: row.siteId,
    siteName: row.siteName,
    name: row.repository.name,
    kind: row.repository.kind,
    location: row.repository.location,
    state: row.repository.state,
    capacityBytes: row.repository.capacityBytes,
    freeBytes: row.repository.freeBytes,
    checkedAt: row.repository.checkedAt.toISOString(),
    restorePointCount: Number(row.restorePointCount),
    storedBytes: Number(row.storedBytes),
  }))
}
