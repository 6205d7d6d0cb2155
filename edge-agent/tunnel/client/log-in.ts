import type { NetConnectOpts } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type ChunkSocket, connectInChunks } from '../ssh/chunk-socket.ts'
import { ClientSession, type ClientSessionOptions } from './client-session.ts'

const CONNECT_WITHIN_MS = 15_000

export interface LogInOptions extends Omit<ClientSessionOptions, 'chunks' | 'onReady'> {
  readonly address: { readonly host: string; readonly port: number }
  readonly signal: AbortSignal
}

/**
 * Connects and logs in. `onEnded` is called only after it has resolved; until then the session's end is what it
 * rejects with: `tunnel.unreachable`, `tunnel.host_key_mismatch`, `tunnel.login_refused`, `tunnel.disconnected`,
 * `tunnel.protocol_violation`, or the signal's reason. Needs `ssh2Loaded`.
 */
export async function logIn({ address, signal, onEnded, ...options }: LogInOptions): Promise<ClientSession> {
  signal.throwIfAborted()
  const chunks = await connect(address, signal)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let isReady = false
  const session = new ClientSession({
    ...options,
    chunks,
    onReady: () => {
      isReady = true
      resolve()
    },
    onEnded: (error) => {
      if (isReady) onEnded(error)
      else reject(error ?? new PlatformError('tunnel.disconnected', 'the edge agent closed the connection'))
    },
  })
  const onAbort = (): void => session.close()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await promise
    return session
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Resolves with a connected socket that nobody has read from. */
async function connect(address: { host: string; port: number }, signal: AbortSignal): Promise<ChunkSocket> {
  const options: NetConnectOpts = { ...address, autoSelectFamily: true }
  const chunks = connectInChunks(options)
  const { socket } = chunks
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onAbort = (): void => reject(signal.reason)
  const onTimeout = (): void => reject(new Error(`no answer within ${CONNECT_WITHIN_MS} ms`))
  signal.addEventListener('abort', onAbort, { once: true })
  socket.setTimeout(CONNECT_WITHIN_MS, onTimeout)
  socket.once('error', reject)
  socket.once('connect', () => {
    // Whoever takes it over starts it; nothing may be read before.
    socket.pause()
    resolve()
  })
  try {
    await promise
    return chunks
  } catch (cause) {
    socket.destroy()
    signal.throwIfAborted()
    const where = `${address.host}:${address.port}`
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new PlatformError('tunnel.unreachable', `${where} cannot be reached: ${why}`, { cause })
  } finally {
    socket.setTimeout(0)
    socket.removeListener('timeout', onTimeout)
    socket.removeListener('error', reject)
    signal.removeEventListener('abort', onAbort)
  }
}
