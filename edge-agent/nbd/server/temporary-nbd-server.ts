import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import type { NbdExport } from './nbd-export.ts'
import { NbdServer, type NbdServerOptions } from './nbd-server.ts'

/** A server that a test started, on a unix socket in a folder of its own. */
export interface TemporaryNbdServer extends AsyncDisposable {
  readonly server: NbdServer
  readonly socketPath: string
  endpoint(exportName?: string): NbdEndpoint
}

/** Serves the exports given; disposing ends the server, not the exports' sources. */
export async function openTemporaryNbdServer(
  exports: readonly NbdExport[],
  options: Partial<NbdServerOptions> = {},
): Promise<TemporaryNbdServer> {
  const dir = await mkdtemp(join(tmpdir(), 'nbd-server-'))
  const socketPath = join(dir, 'nbd')
  const server = new NbdServer({ tls: 'off', ...options })
  for (const one of exports) server.addExport(one)
  const address = await server.listen({ transport: 'unix', path: socketPath })
  return {
    server,
    socketPath,
    endpoint: (exportName = exports[0]?.name ?? '') => ({ kind: 'nbd', address, exportName }),
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
