import { randomUUID } from 'node:crypto'
import type { JobDetailView, LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { followJob } from './follow-job.ts'
import { createMemoryJobFeed } from './memory-job-feed.ts'

const at = '2026-11-23T20:00:00.000Z'

function newJob(changes: Partial<JobDetailView> = {}): JobDetailView {
  return {
    jobId: randomUUID(),
    kind: 'backup',
    state: 'running',
    commandState: 'running',
    vmId: randomUUID(),
    vmName: 'web-1',
    agentId: randomUUID(),
    siteName: 'Main',
    repositoryId: null,
    restorePointId: null,
    requestedBy: 'owner@example.test',
    queuedAt: at,
    startedAt: at,
    endedAt: null,
    progress: null,
    result: null,
    error: null,
    log: [],
    ...changes,
  }
}

function progressOf(job: JobDetailView, doneBytes: number): LiveEvent {
  const facts = { phase: 'copy', sentence: 'Copying disk0', totalBytes: 100, bytesPerSecond: 10, at }
  return { type: 'job-progress', progress: { jobId: job.jobId, doneBytes, ...facts } }
}

function changed(job: JobDetailView): LiveEvent {
  return { type: 'job-changed', jobId: job.jobId, vmId: job.vmId, state: job.state }
}

/** Time that passes at once: a re-read by time needs no waiting. */
const hurriedClock: Clock = {
  now: () => new Date(at),
  sleep: async (_milliseconds, { signal }) => await systemClock.sleep(1, { signal }),
}
/** Time that never passes: only events move anything. */
const stoppedClock: Clock = {
  now: () => new Date(at),
  sleep: async (_milliseconds, { signal }) => {
    const { promise, reject } = Promise.withResolvers<never>()
    signal.addEventListener('abort', () => reject(signal.reason as Error))
    signal.throwIfAborted()
    await promise
  },
}

describe('followJob', () => {
  const signal = AbortSignal.timeout(15_000)

  test('a job that has ended is told once', async () => {
    const feed = createMemoryJobFeed()
    const job = newJob({ state: 'failed', endedAt: at })
    feed.put(job)
    const seen = await Array.fromAsync(followJob(feed, job.jobId, { clock: stoppedClock, signal }))
    expect(seen).toEqual([job])
    expect(feed.readerCount).toBe(0)
  })

  test('tells progress and the end, and nothing of other jobs', async () => {
    const feed = createMemoryJobFeed()
    const job = newJob()
    feed.put(job)
    feed.put(newJob())
    const seen: JobDetailView[] = []
    for await (const state of followJob(feed, job.jobId, { clock: stoppedClock, signal })) {
      seen.push(state)
      if (seen.length === 1) {
        feed.emit(progressOf(newJob(), 99))
        feed.emit(progressOf(job, 40))
      } else if (seen.length === 2) {
        feed.put({ ...job, state: 'succeeded', endedAt: at })
        feed.emit(changed({ ...job, state: 'succeeded' }))
      }
    }
    expect(seen.map(({ state, progress }) => [state, progress?.doneBytes])).toEqual([
      ['running', undefined],
      ['running', 40],
      ['succeeded', undefined],
    ])
  })

  test('the end is told for any order of events, lost ones and resets among them', async () => {
    const step = fc.constantFrom('progress', 'changed', 'reset', 'foreign')
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.nat(30), async (steps, endsAt) => {
        const feed = createMemoryJobFeed()
        const job = newJob()
        feed.put(job)
        let told = 0
        let last: JobDetailView | undefined
        for await (const state of followJob(feed, job.jobId, { clock: hurriedClock, signal })) {
          last = state
          if (told === Math.min(endsAt, steps.length)) feed.put({ ...job, state: 'succeeded', endedAt: at })
          const next = steps[told]
          if (next === 'progress') feed.emit(progressOf(job, told))
          else if (next === 'changed') feed.emit(changed(job))
          else if (next === 'reset') feed.emit({ type: 'stream-reset' })
          else if (next === 'foreign') feed.emit(changed(newJob()))
          told += 1
        }
        expect(last?.state).toBe('succeeded')
      }),
      { numRuns: 50 },
    )
  })

  test('without a stream the job is read again by time', async () => {
    const feed = createMemoryJobFeed()
    feed.refuse(new Error('no WebSocket here'))
    const job = newJob()
    feed.put(job)
    let last: JobDetailView | undefined
    for await (const state of followJob(feed, job.jobId, { clock: hurriedClock, signal })) {
      last = state
      feed.put({ ...job, state: 'cancelled', endedAt: at })
    }
    expect(last?.state).toBe('cancelled')
  })

  test('an aborted signal ends it with the reason and leaves no reader behind', async () => {
    const feed = createMemoryJobFeed()
    const job = newJob()
    feed.put(job)
    const stop = new AbortController()
    const follow = async () => {
      for await (const _state of followJob(feed, job.jobId, { clock: stoppedClock, signal: stop.signal })) stop.abort()
    }
    await expect(follow()).rejects.toThrow('aborted')
    expect(feed.readerCount).toBe(0)
  })

  test('a job that is not there is said so', async () => {
    const follow = followJob(createMemoryJobFeed(), randomUUID(), { clock: stoppedClock, signal })
    await expect(Array.fromAsync(follow)).rejects.toMatchObject({ code: 'job.not_found' })
  })
})
