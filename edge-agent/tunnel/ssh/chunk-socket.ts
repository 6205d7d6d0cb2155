import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { openDirectSocket } from '@sendense/shared/runtime/direct-socket.ts'

const READ_BYTES = 128 * 1024

/**
 * A socket and whoever takes its bytes. `take` is called for each chunk that arrives; the chunk is the socket's again
 * when it returns: all reads share one buffer, which keeps the collector of garbage idle. When it is read from, the
 * socket's own `pause` and `resume` say.
 */
export interface ChunkSocket {
  readonly socket: Socket
  take: (chunk: Buffer) => void
}

/** Connects. Reading begins by itself, unless the socket is paused when it is connected. */
export function connectInChunks(address: NetConnectOpts): ChunkSocket {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  const callback = (lengthBytes: number): boolean => {
    chunks.take(buffer.subarray(0, lengthBytes))
    return true
  }
  const socket = connect({ ...address, allowHalfOpen: true, onread: { buffer, callback } })
  const chunks: ChunkSocket = { socket, take: notYet }
  return chunks
}

/** @param accepted by a server, paused from the start; not to be used any more afterwards. Paused still. */
export function readInChunks(accepted: Socket): ChunkSocket {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  const room = () => buffer
  const onFilled = (lengthBytes: number): void => chunks.take(buffer.subarray(0, lengthBytes))
  const direct = openDirectSocket(accepted, { room, onFilled })
  const socket = direct ?? accepted
  const chunks: ChunkSocket = { socket, take: notYet }
  socket.pause()
  if (direct === undefined) {
    // Sockets that came from another process close their own half when the peer closes its.
    accepted.allowHalfOpen = true
    accepted.on('data', (chunk: Buffer) => chunks.take(chunk))
  }
  return chunks
}

function notYet(): void {
  throw new Error('bytes arrived before anybody could take them')
}
