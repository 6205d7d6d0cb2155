'use client'

import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatShortDateTime } from '../../lib/relative-time.ts'
import { Badge } from '../../ui/badge.tsx'
import { Button } from '../../ui/button.tsx'
import { Cell, HeaderCell, Row, Table, TableBody, TableHead } from '../../ui/table.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { Tooltip } from '../../ui/tooltip.tsx'
import { usePermission } from '../session/session-context.ts'
import {
  consistencySentence,
  consistencyWord,
  diskReasons,
  modeTone,
  modeWord,
  sumDisks,
} from './restore-point-facts.ts'
import { VerificationState } from './verification-state.tsx'
import { VerifyButton } from './verify-button.tsx'

export interface RestorePointTableProps {
  points: readonly RestorePointView[]
  onRestore: (point: RestorePointView) => void
}

export function RestorePointTable({ points, onRestore }: RestorePointTableProps) {
  return (
    <Table label="Restore points">
      <TableHead>
        <HeaderCell>Taken</HeaderCell>
        <HeaderCell>Mode and reason</HeaderCell>
        <HeaderCell>Consistency</HeaderCell>
        <HeaderCell className="text-right">Read</HeaderCell>
        <HeaderCell className="text-right">Stored</HeaderCell>
        <HeaderCell>Verification</HeaderCell>
        <HeaderCell>
          <span className="sr-only">Actions</span>
        </HeaderCell>
      </TableHead>
      <TableBody>
        {points.map((point) => (
          <RestorePointRow key={point.restorePointId} point={point} onRestore={onRestore} />
        ))}
      </TableBody>
    </Table>
  )
}

function RestorePointRow({
  point,
  onRestore,
}: {
  point: RestorePointView
  onRestore: (point: RestorePointView) => void
}) {
  const sums = sumDisks(point.disks)
  const mayRestore = usePermission('restore.run')
  return (
    <Row>
      <Cell className="whitespace-nowrap">
        <span className="font-medium" suppressHydrationWarning>
          {formatShortDateTime(point.takenAt)}
        </span>
        <TimeAgo at={point.takenAt} className="block text-xs text-ink-muted" />
      </Cell>
      <Cell className="min-w-72 py-2">
        <div className="flex items-start gap-2.5">
          <span className="flex shrink-0 flex-col gap-1">
            {sums.modes.map((mode) => (
              <Badge key={mode} tone={modeTone[mode]}>
                {modeWord[mode]}
              </Badge>
            ))}
          </span>
          <ReasonLines point={point} />
        </div>
      </Cell>
      <Cell className="whitespace-nowrap">
        <Tooltip content={consistencySentence[point.consistency]}>
          <button
            type="button"
            className="cursor-help rounded-sm decoration-line-strong decoration-dotted underline underline-offset-4"
          >
            {consistencyWord[point.consistency]}
          </button>
        </Tooltip>
      </Cell>
      <Cell data-label="Read" className="text-right whitespace-nowrap">
        {formatByteSize(sums.readBytes)}
      </Cell>
      <Cell data-label="Stored" className="text-right whitespace-nowrap">
        {formatByteSize(sums.storedBytes)}
      </Cell>
      <Cell className="whitespace-nowrap">
        <VerificationState point={point} />
      </Cell>
      <Cell>
        <div className="flex justify-end gap-1.5">
          <VerifyButton point={point} />
          {mayRestore ? (
            <Button size="sm" onClick={() => onRestore(point)}>
              Restore
            </Button>
          ) : null}
        </div>
      </Cell>
    </Row>
  )
}

/** One line a reason; the disks are named only where they differ. */
function ReasonLines({ point }: { point: RestorePointView }) {
  const reasons = diskReasons(point.disks)
  return (
    <ul className="space-y-1 pt-0.5 text-xs text-ink-muted">
      {reasons.map((reason) => (
        <li key={reason.sentence}>
          {reasons.length > 1 ? <span className="font-mono text-ink">{reason.diskIds.join(', ')}: </span> : null}
          {reason.sentence}
        </li>
      ))}
    </ul>
  )
}
