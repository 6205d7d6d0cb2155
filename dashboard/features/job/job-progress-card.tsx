'use client'

import type { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import Link from 'next/link'
import { asSentence } from '../../lib/as-sentence.ts'
import { Card } from '../../ui/card.tsx'
import { ProgressBar } from '../../ui/progress-bar.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { CancelJobButton } from './cancel-job-button.tsx'
import { JobStateBadge } from './job-state-badge.tsx'
import { jobKindWord, waitingSentence } from './job-words.ts'
import { transferPercent, transferSentence } from './transfer-estimate.ts'

export interface JobProgressCardProps {
  job: JobView
  /** On a page about the job itself the title leads nowhere. */
  linked?: boolean
  /** Where several VMs are listed. */
  showVm?: boolean
}

/** A job that has not ended: what it does now, how far it is, how fast, how long still, and how to stop it. */
export function JobProgressCard({ job, linked = true, showVm = false }: JobProgressCardProps) {
  const title = showVm ? `${jobKindWord[job.kind]} of ${job.vmName}` : jobKindWord[job.kind]
  return (
    <Card aria-label={`${jobKindWord[job.kind]} of ${job.vmName}`} className="p-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <div className="flex min-w-0 flex-wrap items-center gap-x-3 gap-y-1">
          {linked ? (
            <Link href={`/jobs/${job.jobId}`} className="font-semibold hover:underline">
              {title}
            </Link>
          ) : (
            <span className="font-semibold">{title}</span>
          )}
          <JobStateBadge state={job.state} />
          <span className="text-sm text-ink-muted">
            {job.startedAt === null ? 'queued ' : 'started '}
            <TimeAgo at={job.startedAt ?? job.queuedAt} />
          </span>
        </div>
        <CancelJobButton job={job} />
      </div>
      <JobTransfer job={job} />
    </Card>
  )
}

function JobTransfer({ job }: { job: JobView }) {
  if (job.state === 'queued') {
    return <p className="mt-2.5 text-sm text-ink-muted">{waitingSentence[job.commandState]}</p>
  }
  const { progress } = job
  const percent = progress === null ? null : transferPercent(progress)
  return (
    <div className="mt-3">
      <div className="mb-2 flex items-baseline justify-between gap-4">
        <p className="text-sm">
          {asSentence(progress?.sentence ?? 'The agent has started; its first report is on the way.')}
        </p>
        {percent === null ? null : <span className="text-lg font-semibold">{Math.floor(percent)} %</span>}
      </div>
      <ProgressBar label={`${jobKindWord[job.kind]} of ${job.vmName}`} percent={percent} className="h-2" />
      <p className="mt-2 min-h-5 text-sm text-ink-muted">{progress === null ? null : transferSentence(progress)}</p>
    </div>
  )
}
