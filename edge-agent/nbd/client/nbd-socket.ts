import { connect, type Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'

/** Received into, over and over; what a piece holds is consumed before the next is read. */
const RECEIVE_BYTES = 256 * 1024

export interface SocketEvents {
  /** @param piece only valid during the call */
  onBytes(piece: Buffer): void
  /** Once, when the connection is gone. Absent: it ended in order. */
  onClosed(cause?: Error): void
}

/**
 * A connected socket whose bytes go to `events.onBytes` without stream machinery between.
 * Rejects with `nbd.disconnected` when nobody listens, or the signal's reason.
 */
export async function connectNbdSocket(
  address: NbdEndpoint['address'],
  events: SocketEvents,
  { signal }: { readonly signal: AbortSignal },
): Promise<Socket> {
  signal.throwIfAborted()
  const callback = (lengthBytes: number, buffer: Uint8Array): boolean => {
    events.onBytes(Buffer.from(buffer.buffer, buffer.byteOffset, lengthBytes))
    return true
  }
  const onread = { buffer: Buffer.allocUnsafeSlow(RECEIVE_BYTES), callback }
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const socket =
    address.transport === 'unix'
      ? connect({ path: address.path, onread })
      : connect({ host: address.host, port: address.port, noDelay: true, onread })
  let failure: Error | undefined
  socket.once('connect', resolve)
  socket.once('error', (error) => {
    failure = error
  })
  socket.once('close', () => {
    reject(failure ?? new Error('closed at once'))
    events.onClosed(failure)
  })
  const onAbort = (): void => {
    socket.destroy()
    reject(signal.reason)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await promise
    return socket
  } catch (error) {
    signal.throwIfAborted()
    const message = `cannot connect to NBD server ${nameOfAddress(address)}: ${String(error)}`
    throw new PlatformError('nbd.disconnected', message, { cause: error })
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** For messages. */
export function nameOfAddress(address: NbdEndpoint['address']): string {
  return address.transport === 'unix' ? address.path : `${address.host}:${address.port}`
}
