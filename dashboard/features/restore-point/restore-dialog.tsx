'use client'

import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useRouter } from 'next/navigation'
import { useState, type SubmitEvent } from 'react'
import { randomId } from '../../lib/random-id.ts'
import { formatDateTime } from '../../lib/relative-time.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { Button } from '../../ui/button.tsx'
import { Dialog, DialogBody, DialogFooter } from '../../ui/dialog.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { SwitchField } from '../../ui/switch-field.tsx'
import { TextField } from '../../ui/text-field.tsx'
import { useWatchedJobs } from '../job/watched-jobs.ts'
import { sumDisks } from './restore-point-facts.ts'
import { suggestVmName, vmNameProblem } from './vm-name-problem.ts'

/** Asks for the new VM's name, starts the restore and goes to its job. Open while `point` is not null. */
export function RestoreDialog({ point, onClose }: { point: RestorePointView | null; onClose: () => void }) {
  return (
    <Dialog
      open={point !== null}
      onOpenChange={(open) => open || onClose()}
      title={point === null ? 'Restore' : `Restore ${point.vmName}`}
      description={point === null ? '' : `As it was on ${formatDateTime(point.takenAt)}`}
    >
      {point === null ? null : <RestoreForm key={point.restorePointId} point={point} onClose={onClose} />}
    </Dialog>
  )
}

function RestoreForm({ point, onClose }: { point: RestorePointView; onClose: () => void }) {
  const takenNames = useTakenNames(point.vmId)
  const [typedName, setTypedName] = useState<string | null>(null)
  const [start, setStart] = useState(true)
  const restore = useStartRestore()
  const name = typedName ?? suggestVmName(point.vmName, takenNames)
  const problem = vmNameProblem(name, takenNames)
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault()
    if (problem !== undefined) return
    restore.mutate({ restorePointId: point.restorePointId, newVmName: name, start, idempotencyKey: randomId() })
  }
  return (
    <form onSubmit={submit} noValidate>
      <DialogBody>
        {restore.isError ? <ErrorNotice error={restore.error} /> : null}
        <TextField
          label="New VM name"
          value={name}
          onChange={(event) => setTypedName(event.target.value)}
          problem={problem}
          hint="Letters, digits, dot, dash and underscore."
          autoComplete="off"
          spellCheck={false}
          required
        />
        <SwitchField
          label="Start the new VM"
          hint="Boots it and waits until the guest shows that it came up. The evidence is kept with the job."
          checked={start}
          onCheckedChange={setStart}
        />
        <WhatHappens point={point} start={start} />
      </DialogBody>
      <DialogFooter>
        <Button onClick={onClose}>Close</Button>
        <Button
          type="submit"
          variant="primary"
          busy={restore.isPending || restore.isSuccess}
          disabled={problem !== undefined}
        >
          Start restore
        </Button>
      </DialogFooter>
    </form>
  )
}

function WhatHappens({ point, start }: { point: RestorePointView; start: boolean }) {
  const size = formatByteSize(sumDisks(point.disks).sizeBytes)
  const disks = point.disks.length === 1 ? `one disk of ${size}` : `${point.disks.length} disks, ${size} in all,`
  return (
    <div className="rounded-lg bg-inset p-3 text-sm">
      <p className="font-medium">What happens</p>
      <ul className="mt-1 list-disc space-y-0.5 pl-4.5 text-ink-muted">
        <li>A new VM with {disks} is made beside the original.</li>
        <li>The original VM and its restore points are not touched.</li>
        <li>
          {start ? 'It boots, and the job shows what the guest says of itself.' : 'It stays off until you start it.'}
        </li>
      </ul>
    </div>
  )
}

/** Names in use at the source VM's agent, where the new VM will be. */
function useTakenNames(vmId: string): ReadonlySet<string> {
  const api = useTRPC()
  const vms = useQuery(api.vm.list.queryOptions()).data ?? []
  const agentId = vms.find((vm) => vm.vmId === vmId)?.agentId
  return new Set(vms.filter((vm) => vm.present && vm.agentId === agentId).map((vm) => vm.name))
}

function useStartRestore() {
  const api = useTRPC()
  const router = useRouter()
  const queryClient = useQueryClient()
  const watch = useWatchedJobs((watched) => watched.watch)
  return useMutation(
    api.job.startRestore.mutationOptions({
      onSuccess: async (job) => {
        watch(job.jobId)
        router.push(`/jobs/${job.jobId}`)
        await queryClient.invalidateQueries(api.job.pathFilter())
      },
    }),
  )
}
