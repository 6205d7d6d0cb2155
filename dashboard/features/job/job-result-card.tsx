import type { JobResult } from '@sendense/shared/contracts/job.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'
import { CircleCheck } from 'lucide-react'
import Link from 'next/link'
import { Button } from '../../ui/button.tsx'
import { Card, CardHeader } from '../../ui/card.tsx'

type RestoreResult = Extract<JobResult, { kind: 'restore' }>

/** What a job that succeeded brought, and the way to it. `sourceVmId` is the VM the job was about. */
export function JobResultCard({ result, sourceVmId }: { result: JobResult; sourceVmId: string }) {
  switch (result.kind) {
    case 'backup':
      return (
        <ResultCard
          sentence={`A restore point was sealed: ${formatByteSize(result.readBytes)} read, ${formatByteSize(result.storedBytes)} stored.`}
          link={{ href: `/vms/${sourceVmId}`, label: 'Show restore points' }}
        />
      )
    case 'restore':
      return <RestoreResultCard result={result} />
    case 'verify':
      return (
        <ResultCard
          sentence={`${result.summary} ${formatByteSize(result.checkedBytes)} checked.`}
          link={{ href: `/vms/${sourceVmId}`, label: 'Show restore points' }}
        />
      )
    default:
      return result satisfies never
  }
}

function RestoreResultCard({ result }: { result: RestoreResult }) {
  const { bootProof } = result
  return (
    <ResultCard
      sentence={`${result.vmName} was made from the restore point: ${formatByteSize(result.writtenBytes)} written.`}
      link={{ href: `/vms/${result.vmId}`, label: `Show ${result.vmName}` }}
    >
      {bootProof === undefined ? (
        <p className="text-sm text-ink-muted">It was not started, as asked.</p>
      ) : (
        <div>
          <p className="text-sm">
            It came up after {formatDuration(bootProof.secondsToUp * 1000)}, seen{' '}
            {bootProof.by === 'guest-agent' ? 'through its guest agent' : 'on its console'}:
          </p>
          <pre
            aria-label="Boot evidence"
            className="mt-2 max-h-56 overflow-auto rounded-lg bg-inset p-3 font-mono text-xs whitespace-pre-wrap"
          >
            {bootProof.evidence}
          </pre>
        </div>
      )}
    </ResultCard>
  )
}

interface ResultCardProps {
  sentence: string
  link: { href: string; label: string }
  children?: React.ReactNode
}

function ResultCard({ sentence, link, children }: ResultCardProps) {
  return (
    <Card>
      <CardHeader
        title="Result"
        actions={
          <Button asChild size="sm">
            <Link href={link.href}>{link.label}</Link>
          </Button>
        }
      />
      <div className="space-y-3 p-4">
        <p className="flex items-start gap-2.5">
          <CircleCheck aria-hidden className="mt-0.5 size-4.5 shrink-0 text-success" />
          {sentence}
        </p>
        {children}
      </div>
    </Card>
  )
}
