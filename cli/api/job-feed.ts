import type { JobDetailView } from '@sendense/shared/contracts/api/protection-api.ts'
import { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { z } from 'zod'
import type { ApiClient } from './api-client.ts'

/** Jobs as they are and as they change. */
export interface JobFeed {
  getJob(jobId: string): Promise<JobDetailView>
  /**
   * What changes from now on, until the signal is aborted; then it ends without an error. Lost connections are
   * taken up again by themselves; where events were lost, a `stream-reset` stands for them. Rejects when the
   * cloud refuses.
   */
  events(options: { signal: AbortSignal }): AsyncIterable<LiveEvent>
}

const QUEUE_MAX = 1000
const TrackedEvent = z.object({ id: z.string(), data: LiveEvent })

export function createJobFeed(api: ApiClient): JobFeed {
  return {
    getJob: async (jobId) => await api.job.get.query({ jobId }),
    events: (options) => liveEvents(api, options),
  }
}

async function* liveEvents(api: ApiClient, { signal }: { signal: AbortSignal }): AsyncGenerator<LiveEvent> {
  const queue: LiveEvent[] = []
  let failure: { error: unknown } | undefined
  let ended = false
  let wake = Promise.withResolvers<void>()
  const subscription = api.live.events.subscribe(
    {},
    {
      onData: (item) => {
        const parsed = TrackedEvent.safeParse(item)
        // A reader that is too slow, or an event of a newer cloud, is told to read again.
        if (queue.length >= QUEUE_MAX) queue.length = 0
        queue.push(parsed.success ? parsed.data.data : { type: 'stream-reset' })
        wake.resolve()
      },
      onError: (error) => {
        failure = { error }
        wake.resolve()
      },
      onComplete: () => {
        ended = true
        wake.resolve()
      },
    },
  )
  const abort = () => wake.resolve()
  signal.addEventListener('abort', abort)
  try {
    while (!signal.aborted) {
      const event = queue.shift()
      if (event !== undefined) {
        yield event
        continue
      }
      if (failure !== undefined) throw failure.error
      if (ended) return
      await wake.promise
      wake = Promise.withResolvers<void>()
    }
  } finally {
    signal.removeEventListener('abort', abort)
    subscription.unsubscribe()
  }
}
