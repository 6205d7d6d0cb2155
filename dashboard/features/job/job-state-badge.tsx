import type { JobState } from '@sendense/shared/domain/job-state.ts'
import { Badge } from '../../ui/badge.tsx'
import { StatusDot } from '../../ui/status-dot.tsx'
import { jobStateTone, jobStateWord } from './job-words.ts'

export function JobStateBadge({ state }: { state: JobState }) {
  const tone = jobStateTone[state]
  return (
    <Badge tone={tone}>
      <StatusDot tone={tone} pulsing={state === 'running' || state === 'cancelling'} />
      {jobStateWord[state]}
    </Badge>
  )
}
