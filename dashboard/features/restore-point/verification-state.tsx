import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { ShieldAlert, ShieldCheck } from 'lucide-react'
import { Badge } from '../../ui/badge.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { Tooltip } from '../../ui/tooltip.tsx'
import { verificationWords } from './restore-point-facts.ts'

/** Whether a restore point was proven, when, and what was found. */
export function VerificationState({ point }: { point: RestorePointView }) {
  const { tone, word } = verificationWords(point)
  const { lastVerification } = point
  if (lastVerification === null) return <span className="text-ink-muted">{word}</span>
  return (
    <span className="inline-flex items-center gap-2">
      <Tooltip content={lastVerification.summary}>
        <Badge tone={tone} tabIndex={0}>
          {lastVerification.outcome === 'passed' ? <ShieldCheck aria-hidden /> : <ShieldAlert aria-hidden />}
          {word}
        </Badge>
      </Tooltip>
      <TimeAgo at={lastVerification.at} className="text-xs text-ink-muted" />
    </span>
  )
}
