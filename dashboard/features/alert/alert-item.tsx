'use client'

import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { alertAdvice } from '@sendense/shared/errors/alert-words.ts'
import { Check } from 'lucide-react'
import Link from 'next/link'
import { useId } from 'react'
import { formatShortDateTime } from '../../lib/relative-time.ts'
import { Badge } from '../../ui/badge.tsx'
import { Button } from '../../ui/button.tsx'
import { StatusDot } from '../../ui/status-dot.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { usePermission } from '../session/session-context.ts'
import { AlertFacts } from './alert-facts.tsx'
import { alertTitle, severityWords, timesOf } from './alert-words.ts'
import { useAcknowledge } from './use-acknowledge.ts'

/** One alert: how bad, what happened, where, when, what to do, and the way to say that somebody has looked at it. */
export function AlertItem({ alert, onAcknowledged }: { alert: AlertView; onAcknowledged: () => void }) {
  const titleId = useId()
  const { tone, word } = severityWords[alert.severity]
  const times = timesOf(alert)
  return (
    <li className="grid gap-x-6 gap-y-3 px-4 py-4 sm:grid-cols-[minmax(0,1fr)_auto]">
      <article aria-labelledby={titleId} className="min-w-0">
        <div className="flex flex-wrap items-center gap-x-2.5 gap-y-1.5">
          <Badge tone={tone}>
            <StatusDot tone={tone} />
            {word}
          </Badge>
          <h2 id={titleId} className="font-medium wrap-anywhere">
            {alertTitle(alert)}
          </h2>
          {times === 1 ? null : <span className="text-sm text-ink-muted">{times} times</span>}
        </div>
        <AlertPlace alert={alert} />
        <p className="mt-2 max-w-3xl text-sm wrap-anywhere">
          <span className="font-medium">What to do:</span> {alertAdvice(alert.error)}
        </p>
        <AlertFacts alert={alert} />
      </article>
      <div className="flex items-center justify-between gap-x-4 gap-y-2.5 sm:flex-col sm:items-end sm:justify-start">
        <p className="text-sm whitespace-nowrap text-ink-muted sm:text-right">
          <TimeAgo at={alert.raisedAt} className="block" />
          <span className="block text-xs">{formatShortDateTime(alert.raisedAt)}</span>
        </p>
        <Acknowledgement alert={alert} titleId={titleId} onAcknowledged={onAcknowledged} />
      </div>
    </li>
  )
}

function AlertPlace({ alert }: { alert: AlertView }) {
  return (
    <p className="mt-1 flex flex-wrap gap-x-1.5 text-sm text-ink-muted">
      <span>
        Agent{' '}
        <Link href={`/sites/${alert.siteId}`} className="text-ink hover:underline">
          {alert.hostname}
        </Link>
      </span>
      <span aria-hidden>·</span>
      <span>{alert.siteName}</span>
      <span aria-hidden>·</span>
      <span>{alert.customerName}</span>
      {alert.vm === null ? null : (
        <>
          <span aria-hidden>·</span>
          <span>
            VM{' '}
            <Link href={`/vms/${alert.vm.vmId}`} className="text-ink hover:underline">
              {alert.vm.name}
            </Link>
          </span>
        </>
      )}
    </p>
  )
}

interface AcknowledgementProps {
  alert: AlertView
  titleId: string
  onAcknowledged: () => void
}

function Acknowledgement({ alert, titleId, onAcknowledged }: AcknowledgementProps) {
  const permitted = usePermission('alert.acknowledge')
  const acknowledge = useAcknowledge({ onDone: onAcknowledged })
  const buttonId = useId()
  if (alert.acknowledged !== null) {
    return (
      <p className="max-w-52 text-right text-xs text-ink-muted">
        <span className="inline-flex items-center gap-1 font-medium text-success">
          <Check aria-hidden className="size-3.5" />
          Acknowledged
        </span>
        <span className="block wrap-anywhere">
          <TimeAgo at={alert.acknowledged.at} /> by {alert.acknowledged.by}
        </span>
      </p>
    )
  }
  if (!permitted) return null
  return (
    <Button
      id={buttonId}
      size="sm"
      aria-labelledby={`${buttonId} ${titleId}`}
      busy={acknowledge.isPending || acknowledge.isSuccess}
      onClick={() => acknowledge.mutate({ alertIds: [alert.alertId] })}
    >
      Acknowledge
    </Button>
  )
}
