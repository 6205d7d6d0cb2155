import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/**
 * Refuses what leaves a disk.
 * @throws PlatformError `input.invalid` unless [offsetBytes, offsetBytes + lengthBytes) lies on the disk
 */
export function expectOnDisk(sizeBytes: number, offsetBytes: number, lengthBytes: number): void {
  const whole = Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes)
  if (whole && offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= sizeBytes) return
  const message = `bytes ${offsetBytes} to ${offsetBytes + lengthBytes} leave a disk of ${sizeBytes} bytes`
  throw new PlatformError('input.invalid', message, { details: { offsetBytes, lengthBytes, sizeBytes } })
}
