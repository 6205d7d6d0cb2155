import { once } from 'node:events'
import { chmod, link, lstat, mkdtemp, rm } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdAddress } from '../../block/block-endpoint.ts'

/** `sun_path` of unix(7), without its terminating zero. */
const SOCKET_PATH_BYTES_MAX = 107

/**
 * Lets a server listen. A unix socket appears under its path with mode 0600 from the first moment on, and takes the
 * place of one that nobody listens on any more.
 * @param address port 0: any free one
 * @returns the address with its real port, and how to make the path go away
 * Rejects with `nbd.listen_failed`, `input.invalid` for a path that is too long.
 */
export async function listenAt(
  server: Server,
  address: NbdAddress,
): Promise<{ readonly address: NbdAddress; readonly remove: () => Promise<void> }> {
  try {
    if (address.transport === 'unix') {
      await listenPrivately(server, address.path)
      return { address, remove: async () => await rm(address.path, { force: true }) }
    }
    server.listen({ host: address.host, port: address.port })
    await once(server, 'listening')
    const bound = server.address()
    const port = typeof bound === 'object' && bound !== null ? bound.port : address.port
    return { address: { ...address, port }, remove: async () => undefined }
  } catch (error) {
    server.close()
    if (error instanceof PlatformError) throw error
    const name = address.transport === 'unix' ? address.path : `${address.host}:${address.port}`
    const text = `cannot listen on ${name}: ${error instanceof Error ? error.message : String(error)}`
    throw new PlatformError('nbd.listen_failed', text, { cause: error })
  }
}

/** Bound inside a folder that nobody else may enter, then given its name: at no time may others connect. */
async function listenPrivately(server: Server, path: string): Promise<void> {
  const dir = await mkdtemp(`${dirname(path)}/.n`)
  const hidden = join(dir, 's')
  try {
    if (Math.max(Buffer.byteLength(path), Buffer.byteLength(hidden)) > SOCKET_PATH_BYTES_MAX) {
      throw new PlatformError('input.invalid', `the path ${path} is too long for a unix socket: take a shorter one`)
    }
    server.listen(hidden)
    await once(server, 'listening')
    await chmod(hidden, 0o600)
    await linkFree(hidden, path)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function linkFree(hidden: string, path: string): Promise<void> {
  try {
    await link(hidden, path)
  } catch (error) {
    const isTaken = error instanceof Error && 'code' in error && error.code === 'EEXIST'
    if (!isTaken || (await isAlive(path))) {
      throw isTaken ? new Error(`${basename(path)} is in use`, { cause: error }) : error
    }
    await rm(path)
    await link(hidden, path)
  }
}

/** Anything but a socket that refuses connections is somebody's; a file that is no socket refuses them too. */
async function isAlive(path: string): Promise<boolean> {
  if (!(await lstat(path)).isSocket()) return true
  const socket = connect(path)
  try {
    await once(socket, 'connect')
    return true
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED')
  } finally {
    socket.destroy()
  }
}
