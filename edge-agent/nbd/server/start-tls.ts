import type { Socket } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'

/** Whether clients must use TLS, and with what. */
export type NbdServerTls =
  | 'off'
  | {
      /** Nothing but STARTTLS and ABORT is answered before (NBD proto.md, "FORCEDTLS mode"). */
      readonly mode: 'required'
      /** Of the certificate, PEM. */
      readonly key: string
      /** With its intermediates, PEM. */
      readonly certificate: string
      /** PEM. Clients show a certificate that one of these signed. Absent: any client may connect. */
      readonly clientCa?: string
    }

export type NbdServerCertificate = Exclude<NbdServerTls, 'off'>

/**
 * Performs the server's side of a TLS handshake on a connected socket, TLS 1.2 or newer.
 * Rejects with `nbd.tls_failed` where the client breaks it off, has no certificate that `clientCa` signed, or `signal`
 * aborts; the socket is destroyed then.
 */
export async function startTls(
  socket: Socket,
  { key, certificate, clientCa }: NbdServerCertificate,
  { signal }: CallOptions,
): Promise<TLSSocket> {
  const client = clientCa === undefined ? { requestCert: false } : { ca: clientCa, requestCert: true }
  // A server that listens nowhere: node:tls verifies clients only there, and takes sockets by this event.
  const server = createServer({
    key,
    cert: certificate,
    ...client,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    allowHalfOpen: true,
  })
  const secured = Promise.withResolvers<TLSSocket>()
  const denied = (why: unknown): void => {
    socket.destroy()
    const text = `TLS with a client failed: ${why instanceof Error ? why.message : String(why)}`
    secured.reject(new PlatformError('nbd.tls_failed', text, { cause: why }))
  }
  const onAbort = (): void => denied(signal.reason)
  const onClose = (): void => denied('it went away')
  server.once('secureConnection', secured.resolve)
  server.once('tlsClientError', denied)
  socket.once('close', onClose)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    signal.throwIfAborted()
    server.emit('connection', socket)
    return await secured.promise
  } finally {
    socket.off('close', onClose)
    signal.removeEventListener('abort', onAbort)
  }
}
