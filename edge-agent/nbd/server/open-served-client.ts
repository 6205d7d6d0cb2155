import type { NbdExport } from './nbd-export.ts'
import type { NbdServerOptions } from './nbd-server.ts'
import { RawNbdClient } from './raw-nbd-client.ts'
import { openTemporaryNbdServer } from './temporary-nbd-server.ts'

type GoOptions = Parameters<RawNbdClient['go']>[1]

/** A server with one export and a raw client in transmission on it; `connect` makes further ones. */
export async function openServedClient(
  one: NbdExport,
  goOptions: GoOptions = {},
  options: Partial<NbdServerOptions> = {},
) {
  const server = await openTemporaryNbdServer([one], options)
  const connect = async (): Promise<RawNbdClient> => {
    const client = await RawNbdClient.connect(server.socketPath)
    await client.go(one.name, goOptions)
    return client
  }
  const client = await connect()
  return {
    client,
    connect,
    [Symbol.asyncDispose]: async () => {
      client.socket.destroy()
      await server[Symbol.asyncDispose]()
    },
  }
}
