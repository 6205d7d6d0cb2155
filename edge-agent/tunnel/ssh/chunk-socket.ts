import { connect, type NetConnectOpts, Socket } from 'node:net'

const READ_BYTES = 128 * 1024

/**
 * A socket and whoever takes its bytes. `take` is called for each chunk that arrives; the chunk is the socket's again
 * when it returns. Whether and when it is read from, the socket's own `pause` and `resume` say.
 */
export interface ChunkSocket {
  readonly socket: Socket
  take: (chunk: Buffer) => void
}

/** Connects; all reads share one buffer, which keeps the collector of garbage idle. */
export function connectInChunks(address: NetConnectOpts): ChunkSocket {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  const onread = {
    buffer,
    callback: (bytes: number) => {
      chunks.take(buffer.subarray(0, bytes))
      return true
    },
  }
  const chunks: ChunkSocket = { socket: connect({ ...address, allowHalfOpen: true, onread }), take: notYet }
  return chunks
}

/** A socket a server accepted; not read from yet. */
export function readInChunks(socket: Socket): ChunkSocket {
  const chunks: ChunkSocket = { socket, take: notYet }
  // Sockets that came from another process close their own half when the peer closes its.
  socket.allowHalfOpen = true
  socket.pause()
  socket.on('data', (chunk: Buffer) => chunks.take(chunk))
  return chunks
}

function notYet(): void {
  throw new Error('bytes arrived before anybody could take them')
}
