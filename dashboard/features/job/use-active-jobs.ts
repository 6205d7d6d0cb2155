'use client'

import { useQuery } from '@tanstack/react-query'
import { useTRPC } from '../../lib/trpc.ts'

/** Every job that has not ended, newest first. One cache entry for all who ask. */
export function useActiveJobs() {
  const api = useTRPC()
  return useQuery(api.job.list.queryOptions({ state: ['queued', 'running', 'cancelling'] }))
}
