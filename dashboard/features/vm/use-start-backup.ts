'use client'

import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useTRPC } from '../../lib/trpc.ts'
import { toastError } from '../../ui/toast-error.ts'
import { useWatchedJobs } from '../job/watched-jobs.ts'

/** Starts a backup; its job appears in the lists at once and its end is announced. A refusal is told in a message. */
export function useStartBackup() {
  const api = useTRPC()
  const queryClient = useQueryClient()
  const watch = useWatchedJobs((watched) => watched.watch)
  return useMutation(
    api.job.startBackup.mutationOptions({
      onSuccess: async (job) => {
        watch(job.jobId)
        await Promise.all([
          queryClient.invalidateQueries(api.job.pathFilter()),
          queryClient.invalidateQueries(api.vm.pathFilter()),
        ])
      },
      onError: toastError,
    }),
  )
}
