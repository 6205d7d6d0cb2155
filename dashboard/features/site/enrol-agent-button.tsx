'use client'

import { useMutation } from '@tanstack/react-query'
import { Plus } from 'lucide-react'
import { useState } from 'react'
import { formatDateTime } from '../../lib/relative-time.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { Button } from '../../ui/button.tsx'
import { CopyButton } from '../../ui/copy-button.tsx'
import { Dialog, DialogBody, DialogFooter } from '../../ui/dialog.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { usePermission } from '../session/session-context.ts'

/** Makes a token with which one new agent can enrol at the site. It is shown once and kept nowhere here. */
export function EnrolAgentButton({ site }: { site: { siteId: string; name: string } }) {
  const permitted = usePermission('agent.enrol')
  const [open, setOpen] = useState(false)
  if (!permitted) return null
  return (
    <>
      <Button onClick={() => setOpen(true)}>
        <Plus aria-hidden />
        Enrol an agent
      </Button>
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title={`Enrol an agent at ${site.name}`}
        description="A token lets one new agent join this site. It works once and for a day."
      >
        <EnrolmentBody siteId={site.siteId} onDone={() => setOpen(false)} />
      </Dialog>
    </>
  )
}

function EnrolmentBody({ siteId, onDone }: { siteId: string; onDone: () => void }) {
  const api = useTRPC()
  const create = useMutation(api.agent.createEnrolmentToken.mutationOptions({ gcTime: 0 }))
  return (
    <>
      <DialogBody>
        {create.isError ? <ErrorNotice error={create.error} /> : null}
        {create.data === undefined ? (
          <p className="text-sm text-ink-muted">
            Give the token to the agent as <code className="font-mono text-xs">SENDENSE_EDGE_ENROLMENT_TOKEN</code> when
            it starts for the first time. It is shown only here and only now.
          </p>
        ) : (
          <ShownToken token={create.data.token} expiresAt={create.data.expiresAt} />
        )}
      </DialogBody>
      <DialogFooter>
        <Button onClick={onDone}>Close</Button>
        {create.data === undefined ? (
          <Button variant="primary" busy={create.isPending} onClick={() => create.mutate({ siteId })}>
            Make token
          </Button>
        ) : null}
      </DialogFooter>
    </>
  )
}

function ShownToken({ token, expiresAt }: { token: string; expiresAt: string }) {
  return (
    <div>
      <div className="flex items-center justify-between gap-3 rounded-lg border border-line bg-inset p-3">
        <code aria-label="Enrolment token" className="font-mono text-sm break-all select-all">
          {token}
        </code>
        <CopyButton text={token} label="Copy token" />
      </div>
      <p className="mt-2 text-sm text-ink-muted">
        Valid until {formatDateTime(expiresAt)}. It cannot be shown again; make another one if it is lost.
      </p>
    </div>
  )
}
