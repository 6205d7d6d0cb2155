'use client'

import { ALERTS_AT_ONCE_MAX, type AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { useState } from 'react'
import { countOf } from '../../lib/count-of.ts'
import { Button } from '../../ui/button.tsx'
import { Dialog, DialogFooter } from '../../ui/dialog.tsx'
import { usePermission } from '../session/session-context.ts'
import { useAcknowledge } from './use-acknowledge.ts'

/** Acknowledges all that are shown, after asking once. Draws nothing where there are not several. */
export function AcknowledgeAll({ alerts }: { alerts: readonly AlertView[] }) {
  const permitted = usePermission('alert.acknowledge')
  // Those that were shown when it was asked for: what arrives meanwhile was looked at by nobody.
  const [asked, setAsked] = useState<readonly string[]>([])
  const acknowledge = useAcknowledge({ onDone: () => setAsked([]) })
  const shown = alerts.slice(0, ALERTS_AT_ONCE_MAX)
  const isOpen = asked.length > 0
  if (!isOpen && (!permitted || shown.length < 2)) return null
  return (
    <>
      <Button onClick={() => setAsked(shown.map((alert) => alert.alertId))}>Acknowledge all shown</Button>
      <Dialog
        open={isOpen}
        onOpenChange={(open) => {
          if (!open) setAsked([])
        }}
        title={`Acknowledge ${countOf(asked.length, 'alert')}?`}
        description="They are no longer open for anybody. They stay in the list of acknowledged ones, with your name and the time."
      >
        <div className="h-4" />
        <DialogFooter>
          <Button onClick={() => setAsked([])}>Leave them open</Button>
          <Button
            variant="primary"
            busy={acknowledge.isPending}
            onClick={() => acknowledge.mutate({ alertIds: [...asked] })}
          >
            Acknowledge {countOf(asked.length, 'alert')}
          </Button>
        </DialogFooter>
      </Dialog>
    </>
  )
}
