import { connect, type Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdAddress } from '../../block/block-endpoint.ts'

export interface SocketEvents {
  /** Where the socket puts what it receives next, at least one byte; it writes there until it calls again. */
  nextBuffer(): Uint8Array
  /** The first `lengthBytes` of a buffer that `nextBuffer` returned were received. */
  onReceived(buffer: Uint8Array, lengthBytes: number): void
  /** Once, when the connection is gone. Absent: it ended in order. */
  onClosed(cause?: Error): void
}

/**
 * A connected socket that receives straight into the buffers of `events`, without stream machinery between.
 * Rejects with `nbd.disconnected` when nobody listens, or the signal's reason.
 */
export async function connectNbdSocket(
  address: NbdAddress,
  events: SocketEvents,
  { signal }: { readonly signal: AbortSignal },
): Promise<Socket> {
  signal.throwIfAborted()
  const callback = (lengthBytes: number, buffer: Uint8Array): boolean => {
    events.onReceived(buffer, lengthBytes)
    return true
  }
  const onread = { buffer: () => events.nextBuffer(), callback }
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
export function nameOfAddress(address: NbdAddress): string {
  return address.transport === 'unix' ? address.path : `${address.host}:${address.port}`
}
