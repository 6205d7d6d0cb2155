import type { IncomingMessage, ServerResponse } from 'node:http'
import { Agent } from 'node:http'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { createProxyServer } from 'httpxy'

const UPSTREAM_SOCKETS_MAX = 100
const UPSTREAM_TIMEOUT_MS = 30_000

/**
 * Passes requests for pages on to the portal's server on loopback. What a client says of other proxies is
 * not believed: the forwarding headers are written anew.
 */
export function createPortalProxy(
  target: string,
  logger: Logger,
): (request: IncomingMessage, response: ServerResponse) => void {
  const proxy = createProxyServer({
    target,
    xfwd: true,
    agent: new Agent({ keepAlive: true, maxSockets: UPSTREAM_SOCKETS_MAX }),
    proxyTimeout: UPSTREAM_TIMEOUT_MS,
  })
  const answerUnavailable = (response: ServerResponse, error: unknown): void => {
    logger.warn({ error: String(error) }, 'the portal pages are not to be had')
    if (response.headersSent) {
      response.destroy()
      return
    }
    response.writeHead(503, { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '5' })
    response.end('The portal is starting or not available. The API works. Try again in a moment.\n')
  }
  return (request, response) => {
    for (const name of Object.keys(request.headers)) {
      if (name.startsWith('x-forwarded-') || name === 'forwarded') delete request.headers[name]
    }
    proxy.web(request, response).catch((error: unknown) => answerUnavailable(response, error))
  }
}
