import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** unix(7): sun_path is 108 bytes with its terminating zero. */
const SOCKET_PATH_MAX_BYTES = 107

/** What a capture agent makes while it runs, and puts in order when it starts; only its user can enter. */
export function runDirOf(stateDir: string): string {
  return join(stateDir, 'run')
}

/** Throws `config.invalid` when the path is too long for a socket. */
export function controlSocketOf(stateDir: string): string {
  const path = join(runDirOf(stateDir), 'control.sock')
  if (Buffer.byteLength(path) <= SOCKET_PATH_MAX_BYTES) return path
  throw new PlatformError('config.invalid', `the socket path ${path} is longer than ${SOCKET_PATH_MAX_BYTES} bytes`)
}
