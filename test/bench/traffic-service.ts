import { createServer, type Socket } from 'node:net'
import process from 'node:process'

const CHUNK = Buffer.alloc(1024 * 1024, 7)

/**
 * A program: a service on the unix socket of its first argument. The first byte of a connection says what it does:
 * `r` and a number of MiB, ended by a line feed: it sends so much and ends. `w`: it takes all that comes and answers with
 * the number of bytes.
 */
const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => socket.destroy())
  socket.once('data', (first: Buffer) => {
    if (first[0] === 'r'.charCodeAt(0)) send(socket, Number(first.subarray(1).toString()))
    else take(socket, first.length - 1)
  })
})
server.listen(process.argv[2], () => process.send?.('ready'))
process.on('disconnect', () => process.exit())

function send(socket: Socket, mebibytes: number): void {
  let left = mebibytes
  const go = (): void => {
    while (left > 0) {
      left -= 1
      if (!socket.write(CHUNK)) {
        socket.once('drain', go)
        return
      }
    }
    socket.end()
  }
  go()
}

function take(socket: Socket, already: number): void {
  let bytes = already
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length))
  socket.on('end', () => socket.end(String(bytes)))
}
