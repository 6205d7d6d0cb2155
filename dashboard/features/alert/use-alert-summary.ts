'use client'

import { useQuery } from '@tanstack/react-query'
import { useTRPC } from '../../lib/trpc.ts'
import { usePermission } from '../session/session-context.ts'

/** How many alerts are open, by severity. One cache entry for all who ask; asks nothing where it is not permitted. */
export function useAlertSummary() {
  const api = useTRPC()
  return useQuery(api.alert.summary.queryOptions(undefined, { enabled: usePermission('alert.read') }))
}
