import { Socket, type SocketConstructorOpts } from 'node:net'

export interface DirectReads {
  /** Where the next bytes go. Asked before each read. */
  room(): Buffer
  /** The first bytes of the room last given have arrived. */
  onFilled(lengthBytes: number): void
}

/**
 * The same connection as a socket whose bytes are received straight into buffers of the caller's, without a buffer made
 * and copied from for each piece; 'data' is never emitted. node:net offers that (`onread`) for sockets it is told to make,
 * not for those it accepted: so the accepted one's handle moves into a new socket. Receiving costs a fourth of the
 * processor time then, and a server that is written to does little else.
 * @param accepted paused from the start, nothing read of it; not to be used any more afterwards
 * @returns undefined where this Node does not let that be done; `accepted` is as it was
 */
export function openDirectSocket(accepted: Socket, reads: DirectReads): Socket | undefined {
  const handle: unknown = Reflect.get(accepted, '_handle')
  if (!isHandle(handle)) return undefined
  const buffer = (): Buffer => reads.room()
  const callback = (lengthBytes: number): boolean => {
    reads.onFilled(lengthBytes)
    return true
  }
  const how: SocketConstructorOpts = {
    allowHalfOpen: true,
    readable: true,
    writable: true,
    onread: { buffer, callback },
  }
  const options = Object.assign<SocketConstructorOpts, object>(how, { handle })
  Reflect.set(accepted, '_handle', null)
  const direct = new Socket(options)
  accepted.destroy()
  return direct
}

function isHandle(handle: unknown): handle is object {
  return typeof handle === 'object' && handle !== null && 'useUserBuffer' in handle && 'readStart' in handle
}
