'use client'

import { useQueryClient } from '@tanstack/react-query'
import { useRouter } from 'next/navigation'
import { useCallback } from 'react'
import { toast } from 'sonner'
import { useTRPC } from '../../lib/trpc.ts'
import { jobKindWord, jobOutcome } from '../job/job-words.ts'

const FAILURE_SHOWN_MS = 15_000
const SUCCESS_SHOWN_MS = 8000

/** Returns a function that tells how a job ended, with the way to it. */
export function useAnnounceJobEnd(): (jobId: string) => void {
  const api = useTRPC()
  const router = useRouter()
  const queryClient = useQueryClient()
  return useCallback(
    (jobId) => {
      const announce = async () => {
        const job = await queryClient.fetchQuery(api.job.get.queryOptions({ jobId }, { staleTime: 0 }))
        const title = `${jobKindWord[job.kind]} of ${job.vmName} ${job.state}`
        const action = { label: 'Show job', onClick: () => router.push(`/jobs/${jobId}`) }
        const description = jobOutcome(job)
        if (job.state === 'failed') toast.error(title, { description, action, duration: FAILURE_SHOWN_MS })
        else if (job.state === 'succeeded') toast.success(title, { description, action, duration: SUCCESS_SHOWN_MS })
        else toast(title, { action })
      }
      // The job's own page tells the same; a message that cannot be fetched is not worth an error of its own.
      announce().catch(() => undefined)
    },
    [api, router, queryClient],
  )
}
