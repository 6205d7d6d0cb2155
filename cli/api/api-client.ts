import type { AppRouter } from '@sendense/cloud/api/app-router.ts'
import { createTRPCClient, createWSClient, httpLink, splitLink, type TRPCClient, wsLink } from '@trpc/client'

export type ApiClient = TRPCClient<AppRouter>

/** Requests go over HTTP; the WebSocket is opened by the first subscription. Disposing closes it. */
export interface ApiConnection extends AsyncDisposable {
  readonly api: ApiClient
  readonly url: string
}

export interface ApiConnectionOptions {
  /** Origin of the portal. */
  readonly url: string
  /** Absent: only what needs no log-in works. */
  readonly token?: string
  /** Ends every request and subscription. */
  readonly signal: AbortSignal
}

const REQUEST_TIMEOUT_MS = 30_000
const RECONNECT_MAX_MS = 10_000

export function connectApi({ url, token, signal }: ApiConnectionOptions): ApiConnection {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const socket = createWSClient({
    url: `${url.replace(/^http/, 'ws')}/trpc`,
    WebSocket: webSocketWith(headers),
    lazy: { enabled: true, closeMs: 0 },
    keepAlive: { enabled: true, intervalMs: 20_000, pongTimeoutMs: 10_000 },
    retryDelayMs: (attempt) => Math.min(RECONNECT_MAX_MS, 250 * 2 ** attempt),
  })
  const api = createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: (operation) => operation.type === 'subscription',
        true: wsLink({ client: socket }),
        false: httpLink({
          url: `${url}/trpc`,
          headers,
          fetch: async (input, init) => {
            const limits = [signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]
            if (init?.signal) limits.push(init.signal)
            return await fetch(input, { ...init, redirect: 'error', signal: AbortSignal.any(limits) })
          },
        }),
      }),
    ],
  })
  return { api, url, [Symbol.asyncDispose]: async () => await socket.close() }
}

/** Node's own WebSocket with headers, which the browsers' interface has no room for. */
function webSocketWith(headers: Readonly<Record<string, string>>): typeof WebSocket {
  return class extends WebSocket {
    constructor(url: string | URL) {
      super(url, { headers: { ...headers } })
    }
  }
}
