import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { and, eq, inArray } from 'drizzle-orm'
import { z } from 'zod'
import type { TenantTransaction } from '../db/database.ts'
import { job, restorePoint, vm } from '../db/schema/protection.ts'

type Subject = NonNullable<AlertView['vm']>

interface AlertedBy {
  readonly alertId: string
  readonly agentId: string
  readonly error: ErrorReport
}

/** Details that lead to a VM, the most direct first. */
const leads = ['vmId', 'restorePointId', 'jobId'] as const
type Lead = (typeof leads)[number]

/** The VM each alert is about, by alert, where its details lead to one of the agent it is about. */
export async function vmsOfAlerts(
  tx: TenantTransaction,
  alerts: readonly AlertedBy[],
): Promise<ReadonlyMap<string, Subject>> {
  const found = new Map<string, Subject>()
  for (const lead of leads) {
    const open = alerts.filter(({ alertId }) => !found.has(alertId))
    const ids = open.flatMap(({ error }) => idOf(error, lead) ?? [])
    if (ids.length === 0) continue
    const byKey = new Map(
      (await findVms[lead](tx, ids)).map(({ id, agentId, ...subject }) => [`${agentId} ${id}`, subject]),
    )
    for (const { alertId, agentId, error } of open) {
      const subject = byKey.get(`${agentId} ${idOf(error, lead)}`)
      if (subject !== undefined) found.set(alertId, subject)
    }
  }
  return found
}

function idOf({ details }: ErrorReport, lead: Lead): string | undefined {
  return z.uuid().safeParse(details[lead]).data?.toLowerCase()
}

type FoundVm = Subject & { readonly id: string; readonly agentId: string }

const findVms: { readonly [L in Lead]: (tx: TenantTransaction, ids: string[]) => Promise<FoundVm[]> } = {
  vmId: (tx, ids) =>
    tx.select({ id: vm.id, agentId: vm.agentId, vmId: vm.id, name: vm.name }).from(vm).where(inArray(vm.id, ids)),
  restorePointId: (tx, ids) =>
    tx
      .select({ id: restorePoint.id, agentId: restorePoint.agentId, vmId: vm.id, name: vm.name })
      .from(restorePoint)
      .innerJoin(vm, and(eq(vm.mspId, restorePoint.mspId), eq(vm.id, restorePoint.vmId)))
      .where(inArray(restorePoint.id, ids)),
  jobId: (tx, ids) =>
    tx
      .select({ id: job.id, agentId: job.agentId, vmId: vm.id, name: vm.name })
      .from(job)
      .innerJoin(vm, and(eq(vm.mspId, job.mspId), eq(vm.id, job.vmId)))
      .where(inArray(job.id, ids)),
}
