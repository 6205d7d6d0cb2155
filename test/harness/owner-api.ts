import { randomUUID } from 'node:crypto'
import type { ApiClient } from '@sendense/cli/api/api-client.ts'
import { followJob } from '@sendense/cli/api/follow-job.ts'
import { createJobFeed } from '@sendense/cli/api/job-feed.ts'
import type { JobDetailView, JobView, RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { isFinalJobState } from '@sendense/shared/domain/job-state.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'

const JOB_TIMEOUT_MS = 150_000

export interface BackupOptions {
  readonly mode?: 'auto' | 'full'
  readonly quiesce?: boolean
  readonly repositoryId?: string
}

/** What the demo's owner does, through the API. */
export class OwnerApi {
  readonly api: ApiClient

  constructor(api: ApiClient) {
    this.api = api
  }

  async startBackup(vmId: string, options: BackupOptions = {}): Promise<JobView> {
    return await this.api.job.startBackup.mutate({ vmId, idempotencyKey: randomUUID(), ...options })
  }

  /** Backs up and returns the restore point; rejects when the job does not succeed. */
  async backUp(vmId: string, options: BackupOptions = {}): Promise<RestorePointView> {
    const { jobId } = await this.startBackup(vmId, options)
    return await this.restorePointOf(await this.waitForSuccess(jobId))
  }

  async restorePointOf(job: JobView): Promise<RestorePointView> {
    if (job.result?.kind !== 'backup') throw unexpected(job, 'a backup that made a restore point')
    return await this.api.restorePoint.get.query({ restorePointId: job.result.restorePointId })
  }

  async restore(restorePointId: string, newVmName: string, options: { start: boolean }): Promise<JobDetailView> {
    const input = { restorePointId, newVmName, start: options.start, idempotencyKey: randomUUID() }
    const { jobId } = await this.api.job.startRestore.mutate(input)
    return await this.waitForSuccess(jobId)
  }

  async verify(restorePointId: string): Promise<JobDetailView> {
    const { jobId } = await this.api.job.startVerify.mutate({ restorePointId, idempotencyKey: randomUUID() })
    return await this.waitForSuccess(jobId)
  }

  /** The job at its end, however it ended. */
  async waitForEnd(jobId: string, timeoutMs = JOB_TIMEOUT_MS): Promise<JobDetailView> {
    const signal = AbortSignal.timeout(timeoutMs)
    let last: JobDetailView | undefined
    for await (const job of followJob(createJobFeed(this.api), jobId, { clock: systemClock, signal })) last = job
    if (last === undefined || !isFinalJobState(last.state)) throw new PlatformError('job.not_found', `job ${jobId}`)
    return last
  }

  async waitForSuccess(jobId: string): Promise<JobDetailView> {
    const job = await this.waitForEnd(jobId)
    if (job.state !== 'succeeded') throw unexpected(job, 'success')
    return job
  }

  async restorePoints(vmId: string): Promise<RestorePointView[]> {
    return await this.api.restorePoint.list.query({ vmId })
  }
}

function unexpected(job: JobView, wanted: string): PlatformError {
  const why = job.error === null ? '' : `: ${job.error.code}: ${job.error.message}`
  return new PlatformError('internal.unexpected', `${job.kind} ${job.jobId} ended ${job.state}, wanted ${wanted}${why}`)
}
