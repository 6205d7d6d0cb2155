import { isPlatformError, type PlatformError } from '@sendense/shared/errors/platform-error.ts'

/**
 * Whether reading a chunk failed because it is not what was written, its pack is not there, or is shorter than it was:
 * not because the store or the way to it did.
 */
export function isChunkDamage(error: unknown): error is PlatformError {
  return (
    isPlatformError(error, 'repository.chunk_corrupt') ||
    isPlatformError(error, 'storage.not_found') ||
    isPlatformError(error, 'input.invalid')
  )
}
