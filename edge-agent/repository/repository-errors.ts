import { type ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'

const systemErrorCodes: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'repository.no_space',
  EDQUOT: 'repository.no_space',
  EFBIG: 'repository.no_space',
}
const diskErrorCodes: Partial<Record<ErrorCode, ErrorCode>> = {
  // Of storages: what a person has to mend at them (keys, rights, read-only) keeps its code and its advice.
  'storage.no_space': 'repository.no_space',
  'storage.container_missing': 'repository.missing',
  'storage.mount_missing': 'repository.missing',
  'storage.mount_stale': 'repository.missing',
  'storage.wrong_store': 'repository.missing',
  'storage.not_found': 'repository.io_failed',
  'storage.unreachable': 'repository.io_failed',
  'storage.timeout': 'repository.io_failed',
  'storage.throttled': 'repository.io_failed',
  'storage.unavailable': 'repository.io_failed',
  'storage.io_failed': 'repository.io_failed',
  'storage.checksum_mismatch': 'repository.io_failed',
  'storage.clock_skew': 'repository.io_failed',
  'source.read_failed': 'repository.io_failed',
  'target.no_space': 'repository.no_space',
  'nbd.no_space': 'repository.no_space',
  'target.write_failed': 'repository.io_failed',
  'nbd.io_failed': 'repository.io_failed',
  'nbd.disconnected': 'repository.io_failed',
  'nbd.timeout': 'repository.io_failed',
  'qemu.disconnected': 'repository.io_failed',
}

/**
 * What went wrong while a repository's files were read or written, as a repository error; the original is the
 * cause. Repository errors, bad input and abort reasons pass unchanged. Of block devices only for the repository's
 * own: a platform's disks have codes of their own.
 */
export function toRepositoryError(error: unknown, what: string): unknown {
  if (error instanceof PlatformError) return fromPlatformError(error, what)
  const systemError = systemCode(error)
  if (systemError === undefined || !(error instanceof Error)) return error
  const code = systemErrorCodes[systemError] ?? 'repository.io_failed'
  return new PlatformError(code, `${what}: ${error.message}`, { cause: error, details: { systemError } })
}

function fromPlatformError(error: PlatformError, what: string): PlatformError {
  const noSpace = error.code === 'qemu.command_failed' && error.details['noSpace'] === true
  const code = noSpace ? 'repository.no_space' : diskErrorCodes[error.code]
  if (code === undefined) return error
  return new PlatformError(code, `${what}: ${error.message}`, { cause: error, details: error.details })
}

/** Runs one step and rejects with what `toRepositoryError` makes of its error. */
export async function withRepositoryErrors<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toRepositoryError(error, what)
  }
}

export function restorePointNotFound(restorePointId: string): PlatformError {
  return new PlatformError('repository.restore_point_not_found', `there is no restore point ${restorePointId}`, {
    details: { restorePointId },
  })
}
