import type { Readable } from 'node:stream'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/**
 * Fills `into` with the body of an answer, exactly. Rejects with `storage.unreachable` when the body ends early,
 * `storage.refused` when it is longer; destroys the stream when the signal is aborted.
 */
export async function fillFromStream(
  stream: Readable,
  into: Uint8Array,
  { key, signal }: { readonly key: string; readonly signal: AbortSignal },
): Promise<void> {
  const stop = (): void => {
    stream.destroy(signal.reason instanceof Error ? signal.reason : new Error('stopped'))
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    if (signal.aborted) stop()
    let filled = 0
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      if (filled + chunk.length > into.length) {
        throw new PlatformError('storage.refused', `object ${key}: more bytes came than were announced`)
      }
      into.set(chunk, filled)
      filled += chunk.length
    }
    if (filled === into.length) return
    const text = `object ${key}: the connection ended ${into.length - filled} bytes early`
    throw new PlatformError('storage.unreachable', text)
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/**
 * RFC 9110, 14.4 "Content-Range": `bytes 0-9/100`. Throws `storage.refused` for anything else, but for what Azurite says
 * of an empty object, `bytes 0--1/0`.
 */
export function parseContentRange(text: string, key: string) {
  if (text === 'bytes 0--1/0') return { startBytes: 0, sizeBytes: 0, lengthBytes: 0 }
  const found = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text)
  const [startBytes, lastBytes, sizeBytes] = (found ?? []).slice(1).map(Number)
  if (startBytes === undefined || lastBytes === undefined || sizeBytes === undefined) {
    throw new PlatformError('storage.refused', `object ${key} came with the range ${JSON.stringify(text)}`)
  }
  return { startBytes, sizeBytes, lengthBytes: lastBytes - startBytes + 1 }
}
