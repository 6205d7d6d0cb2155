import { createHash } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectBody } from './object-store.ts'

const SHA256 = /^[0-9a-f]{64}$/

export function bodySizeBytes(body: ObjectBody): number {
  return body instanceof Uint8Array ? body.length : body.sizeBytes
}

/** Throws `input.invalid` when a body is larger than the store takes, or its checksum cannot be one. */
export function expectBody(body: ObjectBody, limits: { objectMaxBytes: number; sha256: string | undefined }): void {
  const sizeBytes = bodySizeBytes(body)
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes > limits.objectMaxBytes) {
    throw new PlatformError('input.invalid', `an object of ${sizeBytes} bytes: ${limits.objectMaxBytes} at most`)
  }
  if (limits.sha256 !== undefined && !SHA256.test(limits.sha256)) {
    throw new PlatformError('input.invalid', 'a SHA-256 is 64 lower-case hexadecimal digits')
  }
}

/** Throws `input.invalid` when the range leaves an object of this size. */
export function expectInObject(key: string, sizeBytes: number, offsetBytes: number, lengthBytes: number): void {
  if (Number.isSafeInteger(offsetBytes) && offsetBytes >= 0 && offsetBytes + lengthBytes <= sizeBytes) return
  const range = `bytes ${offsetBytes} to ${offsetBytes + lengthBytes}`
  throw new PlatformError('input.invalid', `${range} leave object ${key} of ${sizeBytes} bytes`)
}

/**
 * A body in pieces of `pieceBytes`, the last one shorter; an empty body has none. A piece is only valid until the next
 * one is asked for, unless `ownPieces` asks for memory that stays. Where `sha256` is given, the end is only
 * reached when the body was that: else it rejects with `storage.checksum_mismatch` instead of giving the last piece.
 */
export async function* bodyPieces(
  body: ObjectBody,
  options: CallOptions & { pieceBytes: number; ownPieces?: boolean; sha256: string | undefined },
): AsyncGenerator<Uint8Array> {
  const { pieceBytes, signal, sha256 } = options
  const sizeBytes = bodySizeBytes(body)
  const hash = sha256 === undefined ? undefined : createHash('sha256')
  let buffer: Uint8Array | undefined
  for (let offsetBytes = 0; offsetBytes < sizeBytes; offsetBytes += pieceBytes) {
    signal.throwIfAborted()
    const lengthBytes = Math.min(pieceBytes, sizeBytes - offsetBytes)
    let piece: Uint8Array
    if (body instanceof Uint8Array) piece = body.subarray(offsetBytes, offsetBytes + lengthBytes)
    else {
      if (options.ownPieces === true || buffer === undefined) buffer = new Uint8Array(lengthBytes)
      piece = buffer.subarray(0, lengthBytes)
      await body.read(offsetBytes, piece, { signal })
    }
    hash?.update(piece)
    if (offsetBytes + lengthBytes === sizeBytes) expectSha256(hash?.digest('hex'), sha256)
    yield piece
  }
  if (sizeBytes === 0) expectSha256(hash?.digest('hex'), sha256)
}

/** The whole body as one array: itself, or read into new memory. Checks `sha256` as `bodyPieces` does. */
export async function wholeBody(
  body: ObjectBody,
  options: CallOptions & { sha256: string | undefined },
): Promise<Uint8Array> {
  const sizeBytes = bodySizeBytes(body)
  const whole = body instanceof Uint8Array ? body : new Uint8Array(sizeBytes)
  if (!(body instanceof Uint8Array) && sizeBytes > 0) await body.read(0, whole, options)
  if (options.sha256 !== undefined) {
    expectSha256(createHash('sha256').update(whole).digest('hex'), options.sha256)
  }
  return whole
}

function expectSha256(found: string | undefined, wanted: string | undefined): void {
  if (found === wanted) return
  throw new PlatformError('storage.checksum_mismatch', `the body hashes to ${found}, not to ${wanted}`)
}
