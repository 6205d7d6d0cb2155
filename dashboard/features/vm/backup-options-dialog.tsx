'use client'

import type { StartBackupInput, VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { useState } from 'react'
import type { z } from 'zod'
import { randomId } from '../../lib/random-id.ts'
import { Button } from '../../ui/button.tsx'
import { ChoiceField, type Choice } from '../../ui/choice-field.tsx'
import { Dialog, DialogBody, DialogFooter } from '../../ui/dialog.tsx'
import { SwitchField } from '../../ui/switch-field.tsx'
import { useStartBackup } from './use-start-backup.ts'

type BackupMode = z.infer<typeof StartBackupInput>['mode']

const modes: readonly Choice<BackupMode>[] = [
  {
    value: 'auto',
    label: 'Automatic',
    hint: 'Reads only what changed since the last restore point. Where that cannot be known, it reads everything and says why.',
  },
  { value: 'full', label: 'Full', hint: 'Reads everything that is allocated, whatever is there already.' },
]

export interface BackupOptionsDialogProps {
  vm: VmView
  open: boolean
  onOpenChange: (open: boolean) => void
}

export function BackupOptionsDialog({ vm, open, onOpenChange }: BackupOptionsDialogProps) {
  const start = useStartBackup()
  const [mode, setMode] = useState<BackupMode>('auto')
  const [quiesce, setQuiesce] = useState(true)
  const submit = () => {
    start.mutate({ vmId: vm.vmId, mode, quiesce, idempotencyKey: randomId() }, { onSuccess: () => onOpenChange(false) })
  }
  return (
    <Dialog
      open={open}
      onOpenChange={onOpenChange}
      title={`Back up ${vm.name}`}
      description="Makes a restore point of all disks at one instant. The VM runs on."
    >
      <DialogBody>
        <ChoiceField legend="How" choices={modes} value={mode} onValueChange={setMode} />
        <SwitchField
          label="Freeze file systems"
          hint={
            vm.guestAgent
              ? 'The guest agent freezes them for an instant, so that the restore point is file-system consistent.'
              : 'No guest agent answers in this VM: the restore point will be crash consistent, as after a power cut.'
          }
          checked={quiesce}
          onCheckedChange={setQuiesce}
        />
      </DialogBody>
      <DialogFooter>
        <Button onClick={() => onOpenChange(false)}>Close</Button>
        <Button variant="primary" busy={start.isPending} onClick={submit}>
          Start backup
        </Button>
      </DialogFooter>
    </Dialog>
  )
}
