'use client'

import type { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'
import Link from 'next/link'
import { Cell, HeaderCell, Row, Table, TableBody, TableHead } from '../../ui/table.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { InlineProgress } from './inline-progress.tsx'
import { JobStateBadge } from './job-state-badge.tsx'
import { jobKindWord, jobOutcome } from './job-words.ts'

export interface JobTableProps {
  label: string
  jobs: readonly JobView[]
  /** Off on the page of one VM. */
  showVm?: boolean
}

export function JobTable({ label, jobs, showVm = true }: JobTableProps) {
  return (
    <Table label={label}>
      <TableHead>
        <HeaderCell>Job</HeaderCell>
        {showVm ? <HeaderCell>VM</HeaderCell> : null}
        <HeaderCell>State</HeaderCell>
        <HeaderCell>Outcome</HeaderCell>
        <HeaderCell>Started by</HeaderCell>
        <HeaderCell className="text-right">Duration</HeaderCell>
        <HeaderCell className="text-right">Queued</HeaderCell>
      </TableHead>
      <TableBody>
        {jobs.map((job) => (
          <JobRow key={job.jobId} job={job} showVm={showVm} />
        ))}
      </TableBody>
    </Table>
  )
}

function JobRow({ job, showVm }: { job: JobView; showVm: boolean }) {
  const active = job.state === 'queued' || job.state === 'running' || job.state === 'cancelling'
  return (
    <Row>
      <Cell className="whitespace-nowrap">
        <Link href={`/jobs/${job.jobId}`} className="font-medium hover:underline">
          {jobKindWord[job.kind]}
        </Link>
      </Cell>
      {showVm ? (
        <Cell className="whitespace-nowrap">
          <Link href={`/vms/${job.vmId}`} className="hover:underline">
            {job.vmName}
          </Link>
          <span className="ml-2 text-ink-muted">{job.siteName}</span>
        </Cell>
      ) : null}
      <Cell>
        <JobStateBadge state={job.state} />
      </Cell>
      <Cell className="max-w-88 min-w-44 text-ink-muted max-sm:w-full!">
        {active ? <InlineProgress job={job} /> : <span className="line-clamp-2">{jobOutcome(job) ?? '–'}</span>}
      </Cell>
      <Cell className="whitespace-nowrap text-ink-muted">{job.requestedBy}</Cell>
      <Cell className="text-right whitespace-nowrap text-ink-muted">{jobDuration(job)}</Cell>
      <Cell className="text-right whitespace-nowrap text-ink-muted">
        <TimeAgo at={job.queuedAt} />
      </Cell>
    </Row>
  )
}

function jobDuration({ startedAt, endedAt }: JobView): string {
  if (startedAt === null || endedAt === null) return '–'
  return formatDuration(Date.parse(endedAt) - Date.parse(startedAt))
}
