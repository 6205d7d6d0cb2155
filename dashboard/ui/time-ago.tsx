'use client'

import { formatDateTime, formatRelativeTime } from '../lib/relative-time.ts'
import { useNow } from '../lib/use-now.ts'
import { Tooltip } from './tooltip.tsx'

const REFRESH_MS = 10_000

/** An instant as people say it, `4 min ago`; the exact one in the reader's zone on hover and focus. */
export function TimeAgo({ at, className }: { at: string; className?: string }) {
  const now = useNow(REFRESH_MS)
  return (
    <Tooltip content={formatDateTime(at)}>
      <time dateTime={at} tabIndex={-1} className={className} suppressHydrationWarning>
        {formatRelativeTime(at, now)}
      </time>
    </Tooltip>
  )
}
