import type { InventoryReport, RepositoryReport, VmReport } from '@sendense/shared/contracts/inventory.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { and, eq, notInArray, sql } from 'drizzle-orm'
import { agent } from '../../db/schema/fleet.ts'
import { repository, vm } from '../../db/schema/protection.ts'
import type { EffectContext } from '../event-ingestion.ts'

const ROWS_PER_STATEMENT = 500

/**
 * Replaces what is known of an agent's VMs and repositories. What the report does not list is kept as not
 * present. Rejects with `resource.conflict` where it names a row that another agent reported.
 */
export async function applyInventory(report: InventoryReport, context: EffectContext): Promise<void> {
  const { tx, known } = context
  await writeVms(report.vms, new Date(report.takenAt), context)
  await writeRepositories(report.repositories, context)
  await tx
    .update(agent)
    .set({ hostname: report.hostname, agentVersion: report.agentVersion })
    .where(eq(agent.id, known.agentId))
  context.tell({ type: 'inventory-changed', agentId: known.agentId })
}

async function writeVms(vms: readonly VmReport[], reportedAt: Date, { tx, known }: EffectContext): Promise<void> {
  const { mspId, customerId, agentId } = known
  const rows = vms.map(({ vmId, restoredFrom, hostName, ...rest }) => ({
    ...rest,
    mspId,
    customerId,
    id: vmId,
    agentId,
    restoredFrom: restoredFrom ?? null,
    hostName: hostName ?? null,
    present: true,
    reportedAt,
  }))
  for (const some of chunksOf(rows)) {
    const written = await tx
      .insert(vm)
      .values(some)
      .onConflictDoUpdate({
        target: [vm.mspId, vm.id],
        set: {
          platform: sql`excluded.platform`,
          platformRef: sql`excluded.platform_ref`,
          name: sql`excluded.name`,
          hostName: sql`excluded.host_name`,
          powerState: sql`excluded.power_state`,
          guestAgent: sql`excluded.guest_agent`,
          memoryBytes: sql`excluded.memory_bytes`,
          cpuCount: sql`excluded.cpu_count`,
          disks: sql`excluded.disks`,
          restoredFrom: sql`excluded.restored_from`,
          present: sql`excluded.present`,
          reportedAt: sql`excluded.reported_at`,
        },
        setWhere: eq(vm.agentId, agentId),
      })
      .returning({ id: vm.id })
    if (written.length !== some.length) throw new PlatformError('resource.conflict', 'a VM belongs to another agent')
  }
  const listed = rows.map((row) => row.id)
  await tx
    .update(vm)
    .set({ present: false })
    .where(
      and(eq(vm.agentId, agentId), eq(vm.present, true), listed.length === 0 ? undefined : notInArray(vm.id, listed)),
    )
}

async function writeRepositories(
  repositories: readonly RepositoryReport[],
  { tx, known }: EffectContext,
): Promise<void> {
  const { mspId, customerId, agentId } = known
  const rows = repositories.map(({ repositoryId, checkedAt, capacityBytes, freeBytes, ...rest }) => ({
    ...rest,
    mspId,
    customerId,
    id: repositoryId,
    agentId,
    capacityBytes: capacityBytes ?? null,
    freeBytes: freeBytes ?? null,
    checkedAt: new Date(checkedAt),
  }))
  for (const some of chunksOf(rows)) {
    const written = await tx
      .insert(repository)
      .values(some)
      .onConflictDoUpdate({
        target: [repository.mspId, repository.id],
        set: {
          name: sql`excluded.name`,
          kind: sql`excluded.kind`,
          location: sql`excluded.location`,
          state: sql`excluded.state`,
          capacityBytes: sql`excluded.capacity_bytes`,
          freeBytes: sql`excluded.free_bytes`,
          checkedAt: sql`excluded.checked_at`,
        },
        setWhere: eq(repository.agentId, agentId),
      })
      .returning({ id: repository.id })
    if (written.length !== some.length) {
      throw new PlatformError('resource.conflict', 'a repository belongs to another agent')
    }
  }
  const listed = rows.map((row) => row.id)
  await tx
    .update(repository)
    .set({ state: 'missing' })
    .where(and(eq(repository.agentId, agentId), listed.length === 0 ? undefined : notInArray(repository.id, listed)))
}

function chunksOf<T>(rows: readonly T[]): T[][] {
  const count = Math.ceil(rows.length / ROWS_PER_STATEMENT)
  return Array.from({ length: count }, (_, index) =>
    rows.slice(index * ROWS_PER_STATEMENT, (index + 1) * ROWS_PER_STATEMENT),
  )
}
