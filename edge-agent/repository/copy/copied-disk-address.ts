import { z } from 'zod'
import { BlockEndpoint } from '../../block/block-endpoint.ts'
import { BlockOpenerUrls } from '../../block/block-opener.ts'

/** Under this name the mover's threads know `copied-disk-opener.ts`. */
export const COPIED_DISK_OPENER = 'copied-disk'

const Shared = z.instanceof(SharedArrayBuffer)
const Size = z.int().positive()

/** Where the disk is read, for errors. */
export const CopiedDiskPlace = z.strictObject({
  repositoryId: z.uuid(),
  restorePointId: z.uuid(),
  diskId: z.string(),
})
export type CopiedDiskPlace = z.infer<typeof CopiedDiskPlace>

/** A disk that is copied out of a repository. Holds a key, and what its own disk's address holds: never logged. */
export const CopiedDiskAddress = z.strictObject({
  /** Of the disk as the repository gives it. */
  disk: BlockEndpoint,
  /** What opens it. */
  openers: BlockOpenerUrls,
  place: CopiedDiskPlace,
  sizeBytes: Size,
  chunkSizeBytes: Size,
  chunkIds: Shared,
  /** Of the restore point that the copy builds on. Absent: all of the disk is copied. */
  baseIds: Shared.optional(),
  idKey: z.instanceof(Uint8Array).refine((key) => key.length === 32),
})
export type CopiedDiskAddress = z.infer<typeof CopiedDiskAddress>
