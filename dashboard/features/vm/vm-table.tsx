'use client'

import type { JobView, VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import Link from 'next/link'
import { countOf } from '../../lib/count-of.ts'
import { randomId } from '../../lib/random-id.ts'
import type { SortOrder } from '../../lib/sort-order.ts'
import { Badge } from '../../ui/badge.tsx'
import { Button } from '../../ui/button.tsx'
import { SortHeader } from '../../ui/sort-header.tsx'
import { Cell, HeaderCell, Row, Table, TableBody, TableHead } from '../../ui/table.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { InlineProgress } from '../job/inline-progress.tsx'
import { useActiveJobs } from '../job/use-active-jobs.ts'
import { usePermission } from '../session/session-context.ts'
import { useStartBackup } from './use-start-backup.ts'
import { vmSizeBytes, type VmColumn } from './vm-filter.ts'
import { VmPower } from './vm-power.tsx'

export interface VmTableProps {
  vms: readonly VmView[]
  order: SortOrder<VmColumn>
  onSort: (column: VmColumn) => void
}

export function VmTable({ vms, order, onSort }: VmTableProps) {
  const activeJobs = useActiveJobs().data ?? []
  return (
    <Table label="VMs">
      <TableHead>
        <SortHeader column="name" label="Name" order={order} onSort={onSort} />
        <SortHeader column="site" label="Site" order={order} onSort={onSort} />
        <SortHeader column="power" label="Power" order={order} onSort={onSort} />
        <SortHeader column="size" label="Disks" order={order} onSort={onSort} />
        <SortHeader column="lastRestorePoint" label="Last restore point" order={order} onSort={onSort} />
        <HeaderCell className="w-52">
          <span className="sr-only">Actions</span>
        </HeaderCell>
      </TableHead>
      <TableBody>
        {vms.map((vm) => (
          <VmRow key={vm.vmId} vm={vm} job={activeJobs.find((job) => job.vmId === vm.vmId)} />
        ))}
      </TableBody>
    </Table>
  )
}

function VmRow({ vm, job }: { vm: VmView; job: JobView | undefined }) {
  return (
    <Row>
      <Cell className="min-w-40">
        <Link href={`/vms/${vm.vmId}`} className="font-medium hover:underline">
          {vm.name}
        </Link>
        {vm.restoredFrom === null ? null : <Badge className="ml-2">Restored</Badge>}
        {vm.hostName === null ? null : <span className="block text-xs text-ink-muted">on {vm.hostName}</span>}
      </Cell>
      <Cell className="whitespace-nowrap">
        {vm.siteName}
        <span className="block text-xs text-ink-muted">{vm.customerName}</span>
      </Cell>
      <Cell>
        <VmPower state={vm.powerState} present={vm.present} />
      </Cell>
      <Cell className="whitespace-nowrap">
        {formatByteSize(vmSizeBytes(vm))}
        <span className="ml-2 text-xs text-ink-muted">{countOf(vm.disks.length, 'disk')}</span>
      </Cell>
      <Cell className="whitespace-nowrap">
        {vm.lastRestorePointAt === null ? (
          <Badge tone="warning">Never backed up</Badge>
        ) : (
          <>
            <TimeAgo at={vm.lastRestorePointAt} />
            <span className="ml-2 text-xs text-ink-muted">{countOf(vm.restorePointCount, 'point')}</span>
          </>
        )}
      </Cell>
      <Cell>{job === undefined ? <RowBackUpNow vm={vm} /> : <JobLink job={job} />}</Cell>
    </Row>
  )
}

function JobLink({ job }: { job: JobView }) {
  return (
    <Link href={`/jobs/${job.jobId}`} className="ml-auto block w-44 rounded-sm">
      <InlineProgress job={job} />
    </Link>
  )
}

function RowBackUpNow({ vm }: { vm: VmView }) {
  const permitted = usePermission('backup.run')
  const start = useStartBackup()
  if (!permitted) return null
  return (
    <div className="flex justify-end">
      <Button
        size="sm"
        busy={start.isPending}
        disabled={!vm.present}
        onClick={() => start.mutate({ vmId: vm.vmId, idempotencyKey: randomId() })}
      >
        Back up now
        <span className="sr-only">: {vm.name}</span>
      </Button>
    </div>
  )
}
