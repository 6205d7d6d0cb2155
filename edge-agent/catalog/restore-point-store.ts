import type { RestorePointReport, VerificationReport } from '@sendense/shared/contracts/restore-point.ts'

/** Index entry of one sealed restore point; the manifest in the repository is the truth. */
export interface RestorePointRecord extends RestorePointReport {
  /** Found sealed in the repository after the agent had stopped before it could write this row. */
  readonly adopted: boolean
  readonly verification?: VerificationReport
}

export interface RestorePointStore {
  find(restorePointId: string): Promise<RestorePointRecord | undefined>
  findByJob(jobId: string): Promise<RestorePointRecord | undefined>
  /** By `takenAt`. */
  findNewest(vmId: string, repositoryId: string): Promise<RestorePointRecord | undefined>
  /** Newest first. */
  list(filter: {
    readonly vmId?: string
    readonly repositoryId?: string
    readonly limit: number
  }): Promise<RestorePointRecord[]>
  /** Does nothing where the id exists. Returns whether it was new. */
  insert(record: RestorePointRecord): Promise<boolean>
  setVerification(report: VerificationReport): Promise<void>
}
