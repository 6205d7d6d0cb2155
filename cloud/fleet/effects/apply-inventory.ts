import type { InventoryReport, RepositoryReport, VmReport } from '@sendense/shared/contracts/inventory.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { and, eq, notInArray, type SQL, sql } from 'drizzle-orm'
import type { PgColumn } from 'drizzle-orm/pg-core'
import { agent } from '../../db/schema/fleet.ts'
import { repository, vm } from '../../db/schema/protection.ts'
import type { EffectContext } from '../event-ingestion.ts'

const ROWS_PER_STATEMENT = 500
/** What each report tells anew. */
const VM_FACTS = [
  'platform',
  'platformRef',
  'name',
  'hostName',
  'powerState',
  'guestAgent',
  'memoryBytes',
  'cpuCount',
  'disks',
  'restoredFrom',
  'present',
  'reportedAt',
] as const
const REPOSITORY_FACTS = ['name', 'kind', 'location', 'state', 'capacityBytes', 'freeBytes', 'checkedAt'] as const

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
        set: asInserted(vm, VM_FACTS),
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
        set: asInserted(repository, REPOSITORY_FACTS),
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

/** Columns of a row that is there already, as the one that could not be inserted has them. */
function asInserted<K extends string>(table: Readonly<Record<K, PgColumn>>, columns: readonly K[]): Record<K, SQL> {
  const pairs = columns.map((column) => [column, sql`excluded.${sql.identifier(table[column].name)}`] as const)
  return Object.fromEntries(pairs) as Record<K, SQL>
}

function chunksOf<T>(rows: readonly T[]): T[][] {
  const count = Math.ceil(rows.length / ROWS_PER_STATEMENT)
  return Array.from({ length: count }, (_, index) =>
    rows.slice(index * ROWS_PER_STATEMENT, (index + 1) * ROWS_PER_STATEMENT),
  )
}
