import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { History } from 'lucide-react'
import Link from 'next/link'
import { Badge } from '../../ui/badge.tsx'
import { Card, CardHeader } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import { Cell, HeaderCell, Row, Table, TableBody, TableHead } from '../../ui/table.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { consistencyWord, modeTone, modeWord, sumDisks } from '../restore-point/restore-point-facts.ts'
import { VerificationState } from '../restore-point/verification-state.tsx'

const SHOWN_MAX = 8

/** The newest restore points of all VMs. Undefined while they are being read. */
export function LatestRestorePoints({ points }: { points: readonly RestorePointView[] | undefined }) {
  return (
    <Card>
      <CardHeader title="Latest restore points" />
      {points === undefined ? (
        <SkeletonRows />
      ) : points.length === 0 ? (
        <EmptyState icon={History} title="No restore points yet">
          Open a VM and back it up: its first restore point appears here.
        </EmptyState>
      ) : (
        <Table label="Latest restore points">
          <TableHead>
            <HeaderCell>VM</HeaderCell>
            <HeaderCell>Taken</HeaderCell>
            <HeaderCell>Mode</HeaderCell>
            <HeaderCell>Consistency</HeaderCell>
            <HeaderCell className="text-right">Read</HeaderCell>
            <HeaderCell>Verification</HeaderCell>
          </TableHead>
          <TableBody>
            {points.slice(0, SHOWN_MAX).map((point) => (
              <LatestRow key={point.restorePointId} point={point} />
            ))}
          </TableBody>
        </Table>
      )}
    </Card>
  )
}

function LatestRow({ point }: { point: RestorePointView }) {
  const sums = sumDisks(point.disks)
  return (
    <Row>
      <Cell>
        <Link href={`/vms/${point.vmId}`} className="font-medium hover:underline">
          {point.vmName}
        </Link>
      </Cell>
      <Cell className="whitespace-nowrap">
        <TimeAgo at={point.takenAt} />
      </Cell>
      <Cell>
        <span className="flex gap-1">
          {sums.modes.map((mode) => (
            <Badge key={mode} tone={modeTone[mode]}>
              {modeWord[mode]}
            </Badge>
          ))}
        </span>
      </Cell>
      <Cell>{consistencyWord[point.consistency]}</Cell>
      <Cell data-label="Read" className="text-right whitespace-nowrap">
        {formatByteSize(sums.readBytes)}
      </Cell>
      <Cell>
        <VerificationState point={point} />
      </Cell>
    </Row>
  )
}
