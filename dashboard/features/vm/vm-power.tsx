import type { PowerState } from '@sendense/shared/contracts/inventory.ts'
import { StatusDot } from '../../ui/status-dot.tsx'
import { powerTone, powerWord } from './vm-words.ts'

/** Power state in a word. Says `Powered on` rather than `Running`, which is a job's word. */
export function VmPower({ state, present }: { state: PowerState; present: boolean }) {
  const word = !present ? 'Not found' : state === 'running' ? 'Powered on' : powerWord[state]
  return (
    <span className="inline-flex items-center gap-2 whitespace-nowrap">
      <StatusDot tone={present ? powerTone[state] : 'danger'} />
      {word}
    </span>
  )
}
