import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'

/** Where on the disk the corrupt chunk is; undefined where the error is about something else. */
export function corruptOffsetOf(error: unknown): number | undefined {
  if (!isPlatformError(error, 'repository.chunk_corrupt')) return undefined
  const { offsetBytes } = error.details
  return typeof offsetBytes === 'number' ? offsetBytes : undefined
}

/**
 * Of the failures of one copy, in the order they happened, the one to tell of: the first, or if that is a corrupt chunk,
 * the corrupt chunk that comes first on the disk.
 * @param failures at least one
 * @param offsetOf as `corruptOffsetOf`, where the failures are something around the errors
 */
export function worstFailure(
  failures: readonly unknown[],
  offsetOf: (failure: unknown) => number | undefined = corruptOffsetOf,
): unknown {
  const [first] = failures
  if (offsetOf(first) === undefined) return first
  const rank = (failure: unknown): number => offsetOf(failure) ?? Infinity
  return failures.reduce((lowest, failure) => (rank(failure) < rank(lowest) ? failure : lowest))
}
