import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** What a QEMU error means to those who asked the source connector. `what` is a sentence's beginning; other errors pass. */
export function fromQemu(error: unknown, what: string): unknown {
  if (!(error instanceof PlatformError)) return error
  const { cause, code, message, details } = error
  if (code === 'qemu.disconnected' || code === 'qemu.timeout') {
    return new PlatformError('source.unreachable', `${what}: ${message}`, { cause: cause ?? error, details })
  }
  if (code === 'qemu.command_failed' || code === 'qemu.start_failed') {
    return new PlatformError('source.snapshot_failed', `${what}: ${message}`, { cause: cause ?? error, details })
  }
  return error
}
