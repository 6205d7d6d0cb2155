import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { createSecureContext, createServer, type TLSSocket } from 'node:tls'
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

/** @throws PlatformError `input.invalid` where key and certificates are none, or do not belong together */
export function expectUsable({ key, certificate, clientCa }: NbdServerCertificate): void {
  try {
    createSecureContext({ key, cert: certificate, ...(clientCa === undefined ? {} : { ca: clientCa }) })
    if (clientCa !== undefined) parseCertificate(clientCa)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new PlatformError('input.invalid', `TLS cannot begin with this key and certificate: ${why}`, { cause: error })
  }
}

/** `createSecureContext` takes an authority that is none, and then trusts nobody. */
function parseCertificate(pem: string): X509Certificate {
  return new X509Certificate(pem)
}

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
