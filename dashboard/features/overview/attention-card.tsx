import { CircleCheck } from 'lucide-react'
import Link from 'next/link'
import { Badge } from '../../ui/badge.tsx'
import { Card, CardHeader } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import { StatusDot } from '../../ui/status-dot.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import type { Attention } from './fleet-health.ts'

const SHOWN_MAX = 8

/** What a person should look at. Undefined while it is being read. */
export function AttentionCard({ items }: { items: readonly Attention[] | undefined }) {
  return (
    <Card>
      <CardHeader title="Needs attention" note={items === undefined || items.length === 0 ? undefined : items.length} />
      {items === undefined ? (
        <SkeletonRows rows={3} />
      ) : items.length === 0 ? (
        <EmptyState icon={CircleCheck} title="Nothing does">
          No alert is open, every agent and repository can be reached, and no job of the last day is left failed.
        </EmptyState>
      ) : (
        <>
          <ul className="divide-y divide-line">
            {items.slice(0, SHOWN_MAX).map((item) => (
              <li key={item.key}>
                <Link
                  href={item.href}
                  className="flex items-start gap-3 px-4 py-2.5 transition-colors hover:bg-inset/60"
                >
                  <span className="grid h-5.5 place-items-center">
                    <StatusDot tone={item.tone} />
                  </span>
                  <span className="min-w-0 flex-1">
                    <span className="flex flex-wrap items-center gap-x-2 gap-y-1">
                      <span className="font-medium">{item.title}</span>
                      {item.badge === undefined ? null : <Badge tone={item.tone}>{item.badge}</Badge>}
                    </span>
                    <span className="line-clamp-2 text-sm text-ink-muted">{item.note}</span>
                    {item.advice === undefined ? null : (
                      <span className="mt-0.5 block text-sm">
                        <span className="font-medium">What to do:</span> {item.advice}
                      </span>
                    )}
                  </span>
                  {item.at === null ? null : (
                    <TimeAgo at={item.at} className="shrink-0 text-sm whitespace-nowrap text-ink-muted" />
                  )}
                </Link>
              </li>
            ))}
          </ul>
          {items.length > SHOWN_MAX ? (
            <p className="border-t border-line px-4 py-2.5 text-sm text-ink-muted">
              and {items.length - SHOWN_MAX} more
            </p>
          ) : null}
        </>
      )}
    </Card>
  )
}
