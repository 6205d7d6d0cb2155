import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { createHTTPHandler } from '@trpc/server/adapters/standalone'
import { applyWSSHandler } from '@trpc/server/adapters/ws'
import { WebSocketServer } from 'ws'
import type { ApiContext, ApiServices } from '../api/api-context.ts'
import { appRouter } from '../api/app-router.ts'
import { toTrpcError } from '../api/error-report.ts'
import type { OriginPolicy } from '../identity/request-origin.ts'
import { type EnrolmentRoute, handleEnrolment } from './enrolment-route.ts'
import { createPortalProxy } from './portal-proxy.ts'
import { addSecurityHeaders } from './security-headers.ts'

const BODY_MAX_BYTES = 256 * 1024
const BATCH_MAX = 20
const SOCKETS_MAX = 5000
const SOCKET_MESSAGE_MAX_BYTES = 64 * 1024
const PING_MS = 30_000
const PONG_WAIT_MS = 10_000

export interface ApiServerOptions {
  readonly services: ApiServices
  readonly origins: OriginPolicy
  readonly publicUrl: string
  /** Where pages come from; absent: other paths answer 404. */
  readonly dashboardUrl: string | undefined
  readonly enrol: EnrolmentRoute
  /** What `/health` answers. Never rejects. */
  readonly health: () => Promise<HealthReport>
}

export interface HealthReport {
  readonly status: 'ok' | 'degraded' | 'failed'
  readonly database: 'ok' | 'failed'
  readonly broker: 'ok' | 'disconnected'
}

/** The one server people and agents come to by HTTP. `close` ends its connections too. */
export function createApiServer(options: ApiServerOptions): { server: Server; close: () => Promise<void> } {
  const trpc = createHTTPHandler({
    router: appRouter,
    basePath: '/trpc/',
    maxBodySize: BODY_MAX_BYTES,
    maxBatchSize: BATCH_MAX,
    createContext: ({ req, res }) => createContext(options, req, { response: res, token: undefined }),
    onError: ({ error, path }) => logUnexpected(options, error, path),
  })
  const proxy =
    options.dashboardUrl === undefined ? undefined : createPortalProxy(options.dashboardUrl, options.services.logger)
  const server = createServer((request, response) => {
    addSecurityHeaders(response, options.publicUrl)
    const path = pathOf(request)
    if (path === '/health') void answerHealth(options, response)
    else if (path === '/fleet/enrol') void handleEnrolment(request, response, options.enrol)
    else if (path.startsWith('/trpc/')) trpc(request, response)
    else if (proxy === undefined) response.writeHead(404).end()
    else proxy(request, response)
  })
  const sockets = createSocketServer(options)
  server.on('upgrade', (request, socket, head) => {
    // From here on the socket is nobody's: an error that no one listens to would end the process.
    socket.on('error', () => socket.destroy())
    const refusal = refuseUpgrade(options, request, sockets.clients.size)
    if (refusal !== undefined) refuse(socket, refusal)
    else sockets.handleUpgrade(request, socket, head, (client) => sockets.emit('connection', client, request))
  })
  return {
    server,
    async close() {
      for (const client of sockets.clients) client.terminate()
      sockets.close()
      server.closeAllConnections()
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
      })
    },
  }
}

function createSocketServer(options: ApiServerOptions): WebSocketServer {
  const wss = new WebSocketServer({ noServer: true, maxPayload: SOCKET_MESSAGE_MAX_BYTES })
  applyWSSHandler({
    wss,
    router: appRouter,
    keepAlive: { enabled: true, pingMs: PING_MS, pongWaitMs: PONG_WAIT_MS },
    // A program cannot always set headers on a WebSocket: it may hand its token over as a parameter.
    createContext: ({ req, info }) => {
      const token = info.connectionParams?.['token']
      return createContext(options, req, { response: undefined, token })
    },
    onError: ({ error, path }) => logUnexpected(options, error, path),
  })
  return wss
}

async function createContext(
  options: ApiServerOptions,
  request: IncomingMessage,
  channel: { response: ServerResponse | undefined; token: string | undefined },
): Promise<ApiContext> {
  const { services, origins } = options
  const { headers } = request
  const authorization = channel.token === undefined ? headers.authorization : `Bearer ${channel.token}`
  const credential = services.sessions.read({ authorization, cookie: headers.cookie })
  const changes = request.method !== 'GET' && request.method !== 'HEAD'
  if (changes && !origins.allowsChange(headers, credential?.from ?? 'none')) {
    throw toTrpcError(new PlatformError('identity.forbidden', 'the request does not come from a page of this portal'))
  }
  const session = credential === undefined ? undefined : await services.sessions.find(credential.sessionId)
  const setCookie = (value: string): void => {
    if (channel.response?.headersSent === false) channel.response.appendHeader('set-cookie', value)
  }
  if (session?.prolonged === true && credential?.from === 'cookie')
    setCookie(services.sessions.cookie(session.sessionId))
  const kind = channel.response === undefined ? 'socket' : 'request'
  return { services, session, channel: kind, address: request.socket.remoteAddress ?? 'unknown', setCookie }
}

function logUnexpected(
  options: ApiServerOptions,
  error: { code: string; message: string; cause?: unknown },
  path: string | undefined,
): void {
  if (error.code !== 'INTERNAL_SERVER_ERROR' || error.cause instanceof PlatformError) return
  options.services.logger.error({ path, err: error.cause ?? error.message }, 'a procedure failed unexpectedly')
}

async function answerHealth(options: ApiServerOptions, response: ServerResponse): Promise<void> {
  const report = await options.health()
  response.writeHead(report.status === 'failed' ? 503 : 200, { 'content-type': 'application/json' })
  response.end(JSON.stringify(report))
}

function refuseUpgrade(options: ApiServerOptions, request: IncomingMessage, open: number): string | undefined {
  if (pathOf(request) !== '/trpc') return '404 Not Found'
  if (!options.origins.allowsUpgrade(request.headers)) return '403 Forbidden'
  return open >= SOCKETS_MAX ? '503 Service Unavailable' : undefined
}

/** Closes both directions once the answer is out: a client that keeps its side open holds nothing here. */
function refuse(socket: Duplex, status: string): void {
  socket.once('finish', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
}

function pathOf(request: IncomingMessage): string {
  const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}
