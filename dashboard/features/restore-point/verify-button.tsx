'use client'

import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { randomId } from '../../lib/random-id.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { Button } from '../../ui/button.tsx'
import { toastError } from '../../ui/toast-error.ts'
import { useActiveJobs } from '../job/use-active-jobs.ts'
import { useWatchedJobs } from '../job/watched-jobs.ts'
import { usePermission } from '../session/session-context.ts'

/** Reads the whole restore point back on the agent and compares it with its manifest. */
export function VerifyButton({ point }: { point: RestorePointView }) {
  const api = useTRPC()
  const permitted = usePermission('verify.run')
  const queryClient = useQueryClient()
  const watch = useWatchedJobs((watched) => watched.watch)
  const running = (useActiveJobs().data ?? []).some(
    (job) => job.kind === 'verify' && job.restorePointId === point.restorePointId,
  )
  const verify = useMutation(
    api.job.startVerify.mutationOptions({
      onSuccess: async (job) => {
        watch(job.jobId)
        await queryClient.invalidateQueries(api.job.pathFilter())
      },
      onError: toastError,
    }),
  )
  if (!permitted) return null
  return (
    <Button
      size="sm"
      variant="quiet"
      busy={verify.isPending || running}
      onClick={() => verify.mutate({ restorePointId: point.restorePointId, idempotencyKey: randomId() })}
    >
      Verify
    </Button>
  )
}
