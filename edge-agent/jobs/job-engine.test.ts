import { randomUUID } from 'node:crypto'
import type { JobResult } from '@sendense/shared/contracts/job.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { JobRecord } from '../catalog/job-store.ts'
import { createMemoryCatalogue, type MemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { JobEngine } from './job-engine.ts'
import type { JobRunner } from './job-runner.ts'

const signal = AbortSignal.timeout(30_000)
const logger = createLogger('test', 'silent')
const good: JobResult = { kind: 'verify', restorePointId: randomUUID(), checkedBytes: 1, summary: 'all is well' }

type Run = (signal: AbortSignal) => Promise<JobResult>
const engines: JobEngine[] = []
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.stop()
})

/** An engine whose every job does `run`. */
function openScene(run: Run, catalogue: MemoryCatalogue = createMemoryCatalogue()) {
  const runner = (kind: JobRunner['kind']) => ({
    kind,
    run: async (_run: unknown, options: { signal: AbortSignal }) => await run(options.signal),
    recover: async () => undefined,
  })
  const fatal: unknown[] = []
  const ended = new Map<string, JobRecord>()
  const jobs = new JobEngine({
    catalogue,
    runners: {
      'backup-vm': runner('backup'),
      'restore-vm': runner('restore'),
      'verify-restore-point': runner('verify'),
    },
    progress: { report: () => undefined },
    clock: systemClock,
    logger,
    runningMax: 1,
    onFatal: (error) => fatal.push(error),
    onJobEnded: (job) => ended.set(job.jobId, job),
  })
  engines.push(jobs)
  return {
    catalogue,
    jobs,
    fatal,
    async submit(): Promise<string> {
      const jobId = randomUUID()
      const ids = { jobId, restorePointId: randomUUID(), repositoryId: randomUUID() }
      const job = { vmId: randomUUID(), arguments: { type: 'verify-restore-point', ...ids } } as const
      await catalogue.transaction(async (tx) => await jobs.submit(tx, job), { signal })
      jobs.nudge()
      return jobId
    },
    async end(jobId: string): Promise<JobRecord> {
      return await vi.waitFor(() => {
        const job = ended.get(jobId)
        if (job === undefined) throw new Error(`job ${jobId} has not ended`, { cause: fatal[0] })
        return job
      }, 5000)
    },
  }
}

describe('the answer to a commit gets lost, and the transaction runs again', () => {
  test('a job runs once, and ends', async () => {
    let runs = 0
    const scene = openScene(async () => {
      runs += 1
      return good
    })
    scene.catalogue.answersLost = true
    await scene.jobs.start()
    expect(await scene.end(await scene.submit())).toMatchObject({ state: 'succeeded', attempt: 1, result: good })
    expect(runs).toBe(1)
  })

  test('a running job is cancelled, and one that waits too', async () => {
    const scene = openScene(untilAborted)
    scene.catalogue.answersLost = true
    await scene.jobs.start()
    const first = await scene.submit()
    const second = await scene.submit()
    await scene.jobs.cancel(second, { signal })
    await scene.jobs.cancel(first, { signal })
    expect(await scene.end(first)).toMatchObject({ state: 'cancelled' })
    const waiting = await scene.catalogue.transaction(async (tx) => await tx.jobs.find(second), { signal })
    expect(waiting?.state).toBe('cancelled')
  })

  test('a job that is put back at the end of the process runs in the next one', async () => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
    const scene = openScene(async (aborted) => {
      begin()
      return await untilAborted(aborted)
    })
    scene.catalogue.answersLost = true
    await scene.jobs.start()
    const jobId = await scene.submit()
    await begun
    await scene.jobs.stop()
    const next = openScene(async () => good, scene.catalogue)
    await next.jobs.start()
    expect(await next.end(jobId)).toMatchObject({ state: 'succeeded', attempt: 2 })
  })
})

test.each(['running', 'cancelling'] as const)(
  'a job that is %s and that nothing runs ends when it is cancelled',
  async (state) => {
    const scene = openScene(async () => good)
    await scene.jobs.start()
    const jobId = await scene.submit()
    const done = await scene.end(jobId)
    const { result: _result, endedAt: _endedAt, ...orphan } = done
    await scene.catalogue.transaction(async (tx) => await tx.jobs.update({ ...orphan, state }), { signal })
    await scene.jobs.cancel(jobId, { signal })
    const job = await scene.catalogue.transaction(async (tx) => await tx.jobs.find(jobId), { signal })
    expect(job).toMatchObject({ state: 'cancelled', error: { code: 'internal.cancelled' } })
  },
)

describe('an outcome that cannot be told ends the job, not the process', () => {
  class Wordy extends PlatformError {
    override get advice(): string {
      return 'x'.repeat(5000)
    }
  }
  test.each<[string, string, Run]>([
    ['a result out of bounds', 'internal.unexpected', async () => ({ ...good, checkedBytes: -1 })],
    [
      'an error with a number that is none',
      'repository.io_failed',
      async () => await Promise.reject(new PlatformError('repository.io_failed', 'broken', { details: { at: NaN } })),
    ],
    [
      'an error with too long advice',
      'internal.unexpected',
      async () => await Promise.reject(new Wordy('repository.io_failed', 'broken')),
    ],
  ])('%s', async (_what, code, run) => {
    const scene = openScene(run)
    await scene.jobs.start()
    expect(await scene.end(await scene.submit())).toMatchObject({ state: 'failed', error: { code } })
    expect(scene.fatal).toEqual([])
  })
})

async function untilAborted(aborted: AbortSignal): Promise<never> {
  await new Promise<void>((resolve) => aborted.addEventListener('abort', () => resolve(), { once: true }))
  throw aborted.reason
}
