'use client'

import type { SessionView } from '@sendense/shared/contracts/api/session-api.ts'
import { createContext, use } from 'react'
import type { z } from 'zod'

type Session = z.infer<typeof SessionView>

export const SessionContext = createContext<Session | null>(null)

/** Who is logged in. Only below `SessionGate`. */
export function useSession(): Session {
  const session = use(SessionContext)
  if (session === null) throw new Error('useSession is called outside SessionGate')
  return session
}

/** True where the log-in may do this. Only decides what is offered: the API refuses the rest by itself. */
export function usePermission(permission: string): boolean {
  return useSession().permissions.includes(permission)
}
