import type { RestorePointReport, VerificationReport } from '@sendense/shared/contracts/restore-point.ts'

/** Index entry of one sealed restore point; the manifest in the repository is the truth. */
export interface RestorePointRecord extends RestorePointReport {
  /** Found sealed in the repository after the agent had stopped before it could write this row. */
  readonly adopted: boolean
  readonly verification?: VerificationReport
  /** Its deletion was begun. Whether it is gone the repository says. */
  readonly deletingSince?: Date
  /** Why somebody holds it: nothing deletes it before that is over. 1 to 255 characters. */
  readonly hold?: string
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
  /** Undefined: its deletion was given up. Does nothing where there is no such point. */
  setDeleting(restorePointId: string, since: Date | undefined): Promise<void>
  /** Those whose deletion was begun, oldest first. */
  listDeleting(repositoryId: string): Promise<RestorePointRecord[]>
  /** Undefined: nobody holds it any more. Does nothing where there is no such point. */
  setHold(restorePointId: string, hold: string | undefined): Promise<void>
  /** Does nothing where there is no such point. */
  remove(restorePointId: string): Promise<void>
}
