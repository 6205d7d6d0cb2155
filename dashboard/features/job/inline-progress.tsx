import type { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import { ProgressBar } from '../../ui/progress-bar.tsx'
import { jobKindWord, jobStateWord } from './job-words.ts'
import { transferPercent } from './transfer-estimate.ts'

/** A job's progress in one line of a table. */
export function InlineProgress({ job }: { job: JobView }) {
  const percent = job.progress === null ? null : transferPercent(job.progress)
  const word = job.state === 'running' ? jobKindWord[job.kind] : jobStateWord[job.state]
  return (
    <div className="flex w-44 items-center gap-2.5">
      {job.state === 'queued' ? (
        <span className="text-ink-muted">{jobKindWord[job.kind]} queued</span>
      ) : (
        <>
          <ProgressBar label={`${jobKindWord[job.kind]} of ${job.vmName}`} percent={percent} />
          <span className="shrink-0 text-xs text-ink-muted">
            {percent === null ? word : `${Math.floor(percent)} %`}
          </span>
        </>
      )}
    </div>
  )
}
