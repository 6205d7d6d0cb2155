'use client'

import type { AppRouter } from '@sendense/cloud/api/app-router.ts'
import { QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { createTRPCClient, createWSClient, httpBatchLink, splitLink, wsLink } from '@trpc/client'
import { useState, type ReactNode } from 'react'
import { isSessionMissing, mayRetry } from './api-error.ts'
import { useLiveStatus } from './live-status.ts'
import { TRPCProvider, type ApiClient } from './trpc.ts'

const BATCH_ITEMS_MAX = 10
const RETRIES_MAX = 2
const RECONNECT_DELAY_MAX_MS = 10_000
/** While live events arrive, re-reading is only a safety net; without them it is the only way to stay current. */
const REFETCH_LIVE_MS = 60_000
const REFETCH_INTERRUPTED_MS = 5000

/** Gives everything below it the API client and the cache of what was read. One of each per tab. */
export function ApiProvider({ children }: { children: ReactNode }) {
  const [queryClient] = useState(createQueryClient)
  const [apiClient] = useState(createApiClient)
  return (
    <QueryClientProvider client={queryClient}>
      <TRPCProvider trpcClient={apiClient} queryClient={queryClient}>
        {children}
      </TRPCProvider>
    </QueryClientProvider>
  )
}

function createQueryClient(): QueryClient {
  return new QueryClient({
    queryCache: new QueryCache({ onError: leaveWhenLoggedOut }),
    defaultOptions: {
      queries: {
        staleTime: 5000,
        retry: (failures, error) => failures < RETRIES_MAX && mayRetry(error),
        refetchInterval: () => (useLiveStatus.getState().status === 'live' ? REFETCH_LIVE_MS : REFETCH_INTERRUPTED_MS),
      },
    },
  })
}

/** A session can end at any moment: the way back leads through the log-in to the same page. */
function leaveWhenLoggedOut(error: unknown): void {
  if (!isSessionMissing(error) || globalThis.location.pathname === '/login') return
  const here = `${globalThis.location.pathname}${globalThis.location.search}`
  globalThis.location.assign(`/login?next=${encodeURIComponent(here)}`)
}

function createApiClient(): ApiClient {
  const url = '/trpc'
  const overHttp = httpBatchLink<AppRouter>({ url, maxItems: BATCH_ITEMS_MAX })
  // Rendered on the server: nothing is asked there, and there is no WebSocket.
  if (globalThis.window === undefined) return createTRPCClient<AppRouter>({ links: [overHttp] })
  const socket = createWSClient({
    url: () => `${globalThis.location.origin.replace(/^http/, 'ws')}${url}`,
    // Opens with the first subscription and closes with the last: the log-in page holds none.
    lazy: { enabled: true, closeMs: 1000 },
    keepAlive: { enabled: true, intervalMs: 15_000, pongTimeoutMs: 5000 },
    retryDelayMs: (attempt) => Math.min(RECONNECT_DELAY_MAX_MS, 250 * 2 ** attempt) * (0.75 + Math.random() / 2),
  })
  return createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: (operation) => operation.type === 'subscription',
        true: wsLink<AppRouter>({ client: socket }),
        false: overHttp,
      }),
    ],
  })
}
