'use client'

import type { AlertSummary } from '@sendense/shared/contracts/api/alert-api.ts'
import Link from 'next/link'
import { usePathname } from 'next/navigation'
import { classNames } from '../../lib/class-names.ts'
import { useAlertSummary } from '../alert/use-alert-summary.ts'
import { useActiveJobs } from '../job/use-active-jobs.ts'
import { useSession } from '../session/session-context.ts'
import { isWithin, placesFor } from './places.ts'

export function Navigation() {
  const path = usePathname()
  const { permissions } = useSession()
  const activeCount = useActiveJobs().data?.length ?? 0
  const alerts = useAlertSummary().data
  return (
    <nav aria-label="Main" className="flex flex-col gap-0.5 px-3">
      {placesFor(permissions).map(({ href, label, icon: Icon }) => {
        const current = isWithin(path, href)
        return (
          <Link
            key={href}
            href={href}
            prefetch
            aria-current={current ? 'page' : undefined}
            className={classNames(
              'flex h-8.5 items-center gap-2.5 rounded-md px-2.5 text-ink-muted transition-colors hover:bg-inset hover:text-ink',
              current && 'bg-accent-soft font-medium text-accent hover:bg-accent-soft hover:text-accent',
            )}
          >
            <Icon aria-hidden className="size-4.5" />
            {label}
            {href === '/jobs' ? <CountBadge count={activeCount} what="active" tone="accent" /> : null}
            {href === '/alerts' && alerts !== undefined ? <OpenAlerts summary={alerts} /> : null}
          </Link>
        )
      })}
    </nav>
  )
}

function OpenAlerts({ summary: { critical, warning, info } }: { summary: AlertSummary }) {
  const tone = critical > 0 ? 'danger' : warning > 0 ? 'warning' : 'neutral'
  return <CountBadge count={critical + warning + info} what="open" tone={tone} />
}

const COUNT_MAX = 999

const countStyle = {
  accent: 'bg-accent text-accent-ink',
  danger: 'bg-danger text-accent-ink',
  warning: 'bg-warning-soft text-warning',
  neutral: 'bg-inset text-ink-muted',
} as const

interface CountBadgeProps {
  count: number
  /** What is counted, for those who hear it. */
  what: string
  tone: keyof typeof countStyle
}

function CountBadge({ count, what, tone }: CountBadgeProps) {
  if (count === 0) return null
  return (
    <span className={classNames('ml-auto rounded-full px-1.5 text-xs font-medium', countStyle[tone])}>
      {count > COUNT_MAX ? `${COUNT_MAX}+` : count}
      <span className="sr-only"> {what}</span>
    </span>
  )
}
