'use client'

import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { ChevronDown, ShieldPlus } from 'lucide-react'
import { useState } from 'react'
import { randomId } from '../../lib/random-id.ts'
import { Button } from '../../ui/button.tsx'
import { usePermission } from '../session/session-context.ts'
import { BackupOptionsDialog } from './backup-options-dialog.tsx'
import { useStartBackup } from './use-start-backup.ts'

/** One click backs up as is best; the arrow beside it asks how. */
export function BackUpNow({ vm }: { vm: VmView }) {
  const permitted = usePermission('backup.run')
  const start = useStartBackup()
  const [optionsOpen, setOptionsOpen] = useState(false)
  if (!permitted) return null
  return (
    <div className="flex">
      <Button
        variant="primary"
        className="rounded-r-none"
        busy={start.isPending}
        onClick={() => start.mutate({ vmId: vm.vmId, idempotencyKey: randomId() })}
      >
        {start.isPending ? null : <ShieldPlus aria-hidden />}
        Back up now
      </Button>
      <Button
        variant="primary"
        size="icon"
        aria-label="Backup options"
        className="w-7 rounded-l-none border-l border-surface/30"
        onClick={() => setOptionsOpen(true)}
      >
        <ChevronDown aria-hidden />
      </Button>
      <BackupOptionsDialog vm={vm} open={optionsOpen} onOpenChange={setOptionsOpen} />
    </div>
  )
}
