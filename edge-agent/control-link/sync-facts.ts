import type { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import { SYNC_JOBS_MAX, type SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import type { Catalogue } from '../catalog/catalogue.ts'

/**
 * What a sync tells of the catalogue, as of one moment: a job that is not listed and whose order is held has ended,
 * and its end has a number up to the high mark. An order that no job was made of yet counts as its job.
 */
export async function readSyncFacts(
  catalogue: Catalogue,
  { signal }: { readonly signal: AbortSignal },
): Promise<Pick<SyncRequest, 'lastCommandSequence' | 'eventHighMark' | 'eventLowestKept' | 'jobsInFlight'>> {
  return await catalogue.transaction(
    async (tx) => {
      // Both rows stay locked: nothing is taken in or reported between these reads.
      const lastCommandSequence = await tx.inbox.lastSequence()
      const eventHighMark = await tx.outbox.highMark()
      const [lowest] = await tx.outbox.list({ after: 0, limit: 1 })
      const eventLowestKept = lowest?.sequence ?? eventHighMark + 1
      const received = await tx.inbox.listReceived(SYNC_JOBS_MAX)
      const unfinished = await tx.jobs.list({ states: ['queued', 'running', 'cancelling'], limit: SYNC_JOBS_MAX })
      const ordered = received.flatMap(({ payload }) => orderedJob(payload))
      const jobIds = new Set([...ordered, ...unfinished.map((job) => job.jobId)])
      const jobsInFlight = [...jobIds].slice(0, SYNC_JOBS_MAX)
      return { lastCommandSequence, eventHighMark, eventLowestKept, jobsInFlight }
    },
    { signal },
  )
}

function orderedJob({ command }: CommandPayload): string[] {
  return command.type === 'refresh-inventory' || command.type === 'cancel-job' ? [] : [command.jobId]
}
