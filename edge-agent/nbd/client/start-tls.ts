import { isIP, type Socket } from 'node:net'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdAddress, NbdTls } from '../../block/block-endpoint.ts'
import { nameOfAddress } from './nbd-socket.ts'

export interface TlsUpgrade {
  readonly address: NbdAddress
  readonly tls: NbdTls
  /** What arrived, in the clear. */
  readonly onPiece: (piece: Buffer) => void
  /** Once, when the connection is gone. */
  readonly onClosed: (cause?: Error) => void
  readonly signal: AbortSignal
}

/**
 * Puts TLS 1.2 or newer over a connected socket; from then on what arrives goes to `onPiece`. The server's
 * certificate must be signed by `caPem`, be valid now and have the server's name.
 * Rejects with `nbd.tls_failed`, `nbd.disconnected` or the signal's reason; the socket is destroyed then.
 */
export async function startTls(socket: Socket, upgrade: TlsUpgrade): Promise<TLSSocket> {
  const { address, tls, signal } = upgrade
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const secure = connectSecurely(socket, serverNameOf(address, tls), tls)
  let failure: Error | undefined
  secure.on('data', upgrade.onPiece)
  secure.once('secureConnect', resolve)
  secure.once('error', (error) => {
    failure = error
  })
  secure.once('close', () => {
    reject(failure ?? new Error('the server closed the connection'))
    upgrade.onClosed(failure)
  })
  const onAbort = (): void => {
    secure.destroy()
    reject(signal.reason)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await promise
    return secure
  } catch (error) {
    signal.throwIfAborted()
    throw upgradeError(error, `${nameOfAddress(address)} as "${serverNameOf(address, tls)}"`)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** An unreadable CA, certificate or key is thrown at once. */
function connectSecurely(socket: Socket, serverName: string, tls: NbdTls): TLSSocket {
  const identity: ConnectionOptions = isIP(serverName) === 0 ? { servername: serverName } : {}
  const client = tls.client === undefined ? {} : { cert: tls.client.certificatePem, key: tls.client.keyPem }
  const trust: ConnectionOptions = { ca: tls.caPem, minVersion: 'TLSv1.2', rejectUnauthorized: true }
  try {
    return connect({ socket, host: serverName, ...identity, ...client, ...trust })
  } catch (error) {
    socket.destroy()
    throw tlsError(error, `"${serverName}"`)
  }
}

/** Whom the certificate must be for. */
function serverNameOf(address: NbdAddress, { serverName }: NbdTls): string {
  return serverName ?? (address.transport === 'tcp' ? address.host : 'localhost')
}

/** Errors of a socket that say nothing of TLS: the server went away in the middle. */
const LOSSES: ReadonlySet<string> = new Set(['ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', ''])

function upgradeError(cause: unknown, what: string): PlatformError {
  if (!LOSSES.has(codeOf(cause))) return tlsError(cause, what)
  const message = `NBD server ${what} closed the connection while TLS was set up`
  return new PlatformError('nbd.disconnected', message, { cause })
}

function tlsError(cause: unknown, what: string): PlatformError {
  const text = cause instanceof Error ? cause.message : String(cause)
  return new PlatformError('nbd.tls_failed', `no TLS with NBD server ${what}: ${text}`, { cause })
}

/** What it means that a connection ended. */
export function connectionLoss(name: string, cause: Error | undefined, why = ''): PlatformError {
  return new PlatformError('nbd.disconnected', `NBD server ${name} closed the connection${why}`, { cause })
}

/**
 * The same in the handshake. With TLS 1.3 a server judges our certificate only after TLS was set up; some then send an
 * error, others (GnuTLS in nbdkit and QEMU) just close.
 * @param isFresh TLS was set up and nothing was received since
 */
export function handshakeLoss(name: string, cause: Error | undefined, isFresh: boolean): PlatformError {
  if (codeOf(cause).startsWith('ERR_SSL_')) return tlsError(cause, name)
  const why = isFresh ? ' as soon as TLS was set up: it may want another client certificate' : ''
  return connectionLoss(name, cause, why)
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : ''
}
