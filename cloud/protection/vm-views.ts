import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { DiskReport, VmReport } from '@sendense/shared/contracts/inventory.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { and, asc, eq, type SQL, sql } from 'drizzle-orm'
import { z } from 'zod'
import type { TenantTransaction } from '../db/database.ts'
import { agent } from '../db/schema/fleet.ts'
import { job, restorePoint, vm } from '../db/schema/protection.ts'
import { customer, site } from '../db/schema/tenancy.ts'

const VMS_MAX = 5000

/** VMs of the tenant by name; vanished ones only where they have restore points. */
export async function listVms(tx: TenantTransaction): Promise<VmView[]> {
  const hasPoints = sql`exists (select from ${restorePoint} p where p.msp_id = ${vm.mspId} and p.vm_id = ${vm.id})`
  const rows = await selectVms(tx, sql`${vm.present} or ${hasPoints}`)
  return rows.map(toVmView)
}

/** Rejects with `resource.not_found`. */
export async function getVm(tx: TenantTransaction, vmId: string): Promise<VmView> {
  const [row] = await selectVms(tx, eq(vm.id, vmId))
  if (row === undefined) throw new PlatformError('resource.not_found', `VM ${vmId} is not there`)
  return toVmView(row)
}

function selectVms(tx: TenantTransaction, condition: SQL) {
  const points = sql`from ${restorePoint} p where p.msp_id = ${vm.mspId} and p.vm_id = ${vm.id}`
  const unfinished = sql`from ${job} j where j.msp_id = ${vm.mspId} and j.vm_id = ${vm.id}
    and j.state in ('queued', 'running', 'cancelling') order by j.queued_at limit 1`
  return tx
    .select({
      vm,
      siteId: site.id,
      siteName: site.name,
      customerName: customer.name,
      lastRestorePointAt: sql<Date | string | null>`(select max(p.taken_at) ${points})`,
      restorePointCount: sql<number | string>`(select count(*) ${points})`,
      runningJobId: sql<string | null>`(select j.id ${unfinished})`,
    })
    .from(vm)
    .innerJoin(agent, and(eq(agent.mspId, vm.mspId), eq(agent.customerId, vm.customerId), eq(agent.id, vm.agentId)))
    .innerJoin(site, and(eq(site.mspId, agent.mspId), eq(site.customerId, agent.customerId), eq(site.id, agent.siteId)))
    .innerJoin(customer, and(eq(customer.mspId, vm.mspId), eq(customer.id, vm.customerId)))
    .where(condition)
    .orderBy(asc(vm.name), asc(vm.id))
    .limit(VMS_MAX)
}

type VmRow = Awaited<ReturnType<typeof selectVms>>[number]

function toVmView(row: VmRow): VmView {
  const { vm: found } = row
  return {
    vmId: found.id,
    agentId: found.agentId,
    siteId: row.siteId,
    siteName: row.siteName,
    customerId: found.customerId,
    customerName: row.customerName,
    name: found.name,
    platform: found.platform,
    hostName: found.hostName,
    powerState: found.powerState,
    guestAgent: found.guestAgent,
    memoryBytes: found.memoryBytes,
    cpuCount: found.cpuCount,
    disks: z.array(DiskReport).parse(found.disks),
    restoredFrom: VmReport.shape.restoredFrom.parse(found.restoredFrom ?? undefined) ?? null,
    present: found.present,
    lastRestorePointAt: row.lastRestorePointAt === null ? null : new Date(row.lastRestorePointAt).toISOString(),
    restorePointCount: Number(row.restorePointCount),
    runningJobId: row.runningJobId,
  }
}
