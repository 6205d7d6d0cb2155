import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'storage.no_space',
  EDQUOT: 'storage.no_space',
  EFBIG: 'storage.no_space',
  EROFS: 'storage.read_only',
  EACCES: 'storage.access_denied',
  EPERM: 'storage.access_denied',
  // NFS: the server has no such file handle any more. FUSE: its process has ended.
  ESTALE: 'storage.mount_stale',
  ENOTCONN: 'storage.mount_stale',
  ECONNABORTED: 'storage.mount_stale',
  ESHUTDOWN: 'storage.mount_stale',
  ETIMEDOUT: 'storage.unreachable',
  EHOSTDOWN: 'storage.unreachable',
  EHOSTUNREACH: 'storage.unreachable',
  ENAMETOOLONG: 'input.invalid',
  EISDIR: 'input.invalid',
  ENOTDIR: 'input.invalid',
}

/** A system error as `storage.*`; anything else as it is. */
export function toLocalError(error: unknown, what: string): unknown {
  const code = systemCode(error)
  if (code === undefined || !(error instanceof Error)) return error
  const known = codes[code] ?? 'storage.io_failed'
  return new PlatformError(known, `${what}: ${error.message}`, { cause: error, details: { systemError: code } })
}
