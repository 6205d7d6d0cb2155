import type { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import type { JobKind } from '@sendense/shared/contracts/job.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import type { CommandState } from '@sendense/shared/domain/command-state.ts'
import type { JobState } from '@sendense/shared/domain/job-state.ts'
import { asSentence } from '../../lib/as-sentence.ts'
import type { BadgeTone } from '../../ui/badge.tsx'

export const jobKindWord: { readonly [K in JobKind]: string } = {
  backup: 'Backup',
  restore: 'Restore',
  verify: 'Verification',
}

export const jobStateWord: { readonly [S in JobState]: string } = {
  queued: 'Queued',
  running: 'Running',
  cancelling: 'Cancelling',
  succeeded: 'Succeeded',
  failed: 'Failed',
  cancelled: 'Cancelled',
}

export const jobStateTone: { readonly [S in JobState]: BadgeTone } = {
  queued: 'neutral',
  running: 'accent',
  cancelling: 'warning',
  succeeded: 'success',
  failed: 'danger',
  cancelled: 'neutral',
}

/** Why a queued job has not begun: how far its order came. */
export const waitingSentence: { readonly [S in CommandState]: string } = {
  queued: 'The order waits to be sent to the agent.',
  published: 'The order was sent; the agent has not taken it yet.',
  accepted: 'The agent has taken the order and starts it next.',
  running: 'The agent has started it.',
  succeeded: 'The agent has carried it out; its report is on the way.',
  failed: 'The agent could not carry it out; its report is on the way.',
  rejected: 'The agent refused the order; its report is on the way.',
  cancelled: 'The order was withdrawn.',
  expired: 'The agent did not take the order in time. If it still runs the job, the result appears here.',
  unknown: 'The agent has not answered for a while. When it is back, the result appears here.',
}

/** What a job brought, in a few words for a table; null while it has not ended or brought nothing. */
export function jobOutcome(job: Pick<JobView, 'result' | 'error'>): string | null {
  if (job.error !== null) return asSentence(job.error.message)
  const { result } = job
  switch (result?.kind) {
    case undefined:
      return null
    case 'backup':
      return `${formatByteSize(result.readBytes)} read, ${formatByteSize(result.storedBytes)} stored`
    case 'restore':
      return result.bootProof === undefined ? `New VM ${result.vmName}` : `New VM ${result.vmName}, seen running`
    case 'verify':
      return result.summary
    default:
      return result satisfies never
  }
}
