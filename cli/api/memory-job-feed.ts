import type { JobDetailView, LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { JobFeed } from './job-feed.ts'

/** Jobs in memory, for tests of what reads a feed. */
export interface MemoryJobFeed extends JobFeed {
  /** Sets what `getJob` answers from now on, without telling the readers of the stream. */
  put(job: JobDetailView): void
  /** Tells every reader of the stream. */
  emit(event: LiveEvent): void
  /** Makes the stream refuse its readers, those that are there and those that come. */
  refuse(error: Error): void
  readonly readerCount: number
}

interface Reader {
  readonly queue: LiveEvent[]
  wake: PromiseWithResolvers<void>
}

export function createMemoryJobFeed(): MemoryJobFeed {
  const jobs = new Map<string, JobDetailView>()
  const readers = new Set<Reader>()
  let refusal: Error | undefined
  const wakeAll = () => {
    for (const reader of readers) reader.wake.resolve()
  }
  return {
    getJob: async (jobId) => {
      const job = jobs.get(jobId)
      if (job === undefined) throw new PlatformError('job.not_found', `job ${jobId} is not there`)
      return structuredClone(job)
    },
    async *events({ signal }) {
      const reader: Reader = { queue: [], wake: Promise.withResolvers<void>() }
      readers.add(reader)
      const abort = () => reader.wake.resolve()
      signal.addEventListener('abort', abort)
      try {
        while (!signal.aborted) {
          if (refusal !== undefined) throw refusal
          const event = reader.queue.shift()
          if (event !== undefined) yield event
          else {
            reader.wake = Promise.withResolvers<void>()
            await reader.wake.promise
          }
        }
      } finally {
        signal.removeEventListener('abort', abort)
        readers.delete(reader)
      }
    },
    put: (job) => void jobs.set(job.jobId, job),
    emit: (event) => {
      for (const reader of readers) reader.queue.push(event)
      wakeAll()
    },
    refuse: (error) => {
      refusal = error
      wakeAll()
    },
    get readerCount() {
      return readers.size
    },
  }
}
