import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'

/** A unix socket that leads to another one. */
export interface BreakingRelay extends AsyncDisposable {
  readonly endpoint: NbdEndpoint
  /** Ends all connections at once, in the middle of whatever they carry. New ones can be made. */
  breakAll(): void
}

/** A relay before an NBD server on a unix socket, which lives on when connections break. */
export async function startBreakingRelay(server: NbdEndpoint): Promise<BreakingRelay> {
  const { address } = server
  if (address.transport !== 'unix') throw new Error('the server listens on a unix socket')
  const path = join(await mkdtemp(join(tmpdir(), 'relay-')), 's')
  const sockets = new Set<Socket>()
  const relay = createServer((near) => {
    const far = connect(address.path)
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
      socket.pipe(other)
    }
  })
  relay.listen(path)
  await once(relay, 'listening')
  const breakAll = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    endpoint: { ...server, address: { transport: 'unix', path } },
    breakAll,
    [Symbol.asyncDispose]: async () => {
      relay.close()
      breakAll()
      await rm(dirname(path), { recursive: true, force: true })
    },
  }
}
