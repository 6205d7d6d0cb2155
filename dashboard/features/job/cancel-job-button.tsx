'use client'

import type { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { useTRPC } from '../../lib/trpc.ts'
import { Button } from '../../ui/button.tsx'
import { Dialog, DialogBody, DialogFooter } from '../../ui/dialog.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { usePermission } from '../session/session-context.ts'
import { jobKindWord } from './job-words.ts'

const consequence: { readonly [K in JobView['kind']]: string } = {
  backup: 'What was copied so far is discarded. Earlier restore points stay as they are, and the VM runs on.',
  restore: 'The new VM and its disks are removed. The restore point stays as it is.',
  verify: 'Nothing is changed; the restore point keeps its last result.',
}

/** Asks once before it cancels. Draws nothing for a job that has ended or is being cancelled. */
export function CancelJobButton({ job }: { job: JobView }) {
  const api = useTRPC()
  const queryClient = useQueryClient()
  const permitted = usePermission('job.cancel')
  const [open, setOpen] = useState(false)
  const cancel = useMutation(
    api.job.cancel.mutationOptions({
      onSuccess: async () => {
        setOpen(false)
        await queryClient.invalidateQueries(api.job.pathFilter())
      },
    }),
  )
  const changeOpen = (next: boolean) => {
    cancel.reset()
    setOpen(next)
  }
  if (!permitted || (job.state !== 'queued' && job.state !== 'running')) return null
  const kind = jobKindWord[job.kind].toLowerCase()
  return (
    <>
      <Button size="sm" onClick={() => changeOpen(true)}>
        Cancel
      </Button>
      <Dialog
        open={open}
        onOpenChange={changeOpen}
        title={`Cancel the ${kind} of ${job.vmName}?`}
        description={consequence[job.kind]}
      >
        {cancel.isError ? (
          <DialogBody>
            <ErrorNotice error={cancel.error} />
          </DialogBody>
        ) : (
          <div className="h-4" />
        )}
        <DialogFooter>
          <Button onClick={() => changeOpen(false)}>Keep it running</Button>
          <Button variant="danger" busy={cancel.isPending} onClick={() => cancel.mutate({ jobId: job.jobId })}>
            Cancel {kind}
          </Button>
        </DialogFooter>
      </Dialog>
    </>
  )
}
