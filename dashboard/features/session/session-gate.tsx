'use client'

import { useQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { isSessionMissing } from '../../lib/api-error.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { BrandMark } from '../../ui/brand-mark.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { SessionContext } from './session-context.ts'

/**
 * Shows the portal once the API has said who is logged in. It protects nothing: without a session the API answers
 * no question, and the browser is sent to the log-in.
 */
export function SessionGate({ children }: { children: ReactNode }) {
  const api = useTRPC()
  const session = useQuery(api.session.current.queryOptions(undefined, { staleTime: 60_000 }))
  if (session.data !== undefined) return <SessionContext value={session.data}>{children}</SessionContext>
  return (
    <main className="grid min-h-dvh place-items-center p-6">
      {session.isError && !isSessionMissing(session.error) ? (
        <div className="w-full max-w-md">
          <BrandMark className="mb-6" />
          <ErrorNotice error={session.error} onRetry={() => void session.refetch()} />
        </div>
      ) : (
        <BrandMark className="animate-breathe" />
      )}
    </main>
  )
}
