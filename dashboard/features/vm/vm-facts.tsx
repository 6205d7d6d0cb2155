import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import Link from 'next/link'
import { Badge } from '../../ui/badge.tsx'
import { Card } from '../../ui/card.tsx'
import { FactList, type Fact } from '../../ui/fact-list.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { platformWord } from './vm-words.ts'

/** What is known of a VM, and its disks. */
export function VmFacts({ vm }: { vm: VmView }) {
  return (
    <Card aria-label="Facts">
      <FactList facts={factsOf(vm)} />
      <ul aria-label="Disks" className="flex flex-wrap gap-x-6 gap-y-2 border-t border-line px-4 py-3 text-sm">
        {vm.disks.map((disk) => (
          <li key={disk.diskId} className="inline-flex items-center gap-2">
            <span className="font-mono text-xs">{disk.diskId}</span>
            <span>{formatByteSize(disk.sizeBytes)}</span>
            <Badge tone={disk.changeTracking ? 'neutral' : 'warning'}>
              {disk.changeTracking ? 'Tracks changes' : 'No change tracking'}
            </Badge>
          </li>
        ))}
      </ul>
    </Card>
  )
}

function factsOf(vm: VmView): Fact[] {
  const facts: Fact[] = [
    { label: 'Platform', value: platformWord[vm.platform] },
    { label: 'Processors', value: vm.cpuCount },
    { label: 'Memory', value: formatByteSize(vm.memoryBytes) },
    { label: 'Guest agent', value: vm.guestAgent ? 'Answers' : 'Not there' },
    {
      label: 'Last restore point',
      value: vm.lastRestorePointAt === null ? 'None' : <TimeAgo at={vm.lastRestorePointAt} />,
    },
    { label: 'Restore points', value: vm.restorePointCount },
  ]
  if (vm.hostName !== null) facts.splice(1, 0, { label: 'Host', value: vm.hostName })
  if (vm.restoredFrom !== null) {
    facts.push({
      label: 'Origin',
      value: (
        <Link href={`/jobs/${vm.restoredFrom.jobId}`} className="font-medium hover:underline">
          Restored by a job
        </Link>
      ),
    })
  }
  return facts
}
