import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDirectSocket } from './direct-socket.ts'

test('this Node lets an accepted socket receive where it is told, both ways, until its end', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'direct-'))
  const path = join(dir, 's')
  const content = Buffer.alloc(3_000_000, 0x5a)
  const room = Buffer.alloc(content.length)
  let filledBytes = 0
  const accepted = Promise.withResolvers<Socket>()
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, accepted.resolve)
  try {
    server.listen(path)
    await once(server, 'listening')
    const client = connect(path)
    const direct = openDirectSocket(await accepted.promise, {
      room: () => (filledBytes < room.length ? room.subarray(filledBytes) : Buffer.alloc(10)),
      onFilled: (lengthBytes) => (filledBytes += lengthBytes),
    })
    expect(direct).toBeDefined()
    const ended = once(direct ?? client, 'end')
    direct?.resume()
    client.end(content)
    await ended
    expect(filledBytes).toBe(content.length)
    expect(Buffer.compare(room, content)).toBe(0)
    direct?.end('bye')
    const [answer] = await once(client, 'data')
    expect(String(answer)).toBe('bye')
    // The server counts the connection no more once it is over.
    server.close()
    await once(server, 'close')
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})

test('an accepted socket of another making is left as it was', () => {
  const socket = new Socket()
  const reads = { room: () => Buffer.alloc(1), onFilled: () => undefined }
  expect(openDirectSocket(socket, reads)).toBeUndefined()
  expect(socket.destroyed).toBe(false)
  socket.destroy()
})
