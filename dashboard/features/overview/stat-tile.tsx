import { TriangleAlert } from 'lucide-react'
import Link from 'next/link'
import { Skeleton } from '../../ui/skeleton.tsx'

export interface StatTileProps {
  href: string
  label: string
  /** Undefined while it is being read. */
  value: string | undefined
  of?: string | undefined
  warning?: string | undefined
}

/** One figure, and the way to what it counts. */
export function StatTile({ href, label, value, of, warning }: StatTileProps) {
  return (
    <Link
      href={href}
      className="block rounded-xl border border-line bg-surface p-4 shadow-card transition-colors hover:border-line-strong"
    >
      <p className="text-sm text-ink-muted">{label}</p>
      {value === undefined ? (
        <Skeleton className="mt-1.5 h-7 w-20" />
      ) : (
        <p className="mt-0.5 flex items-baseline gap-1.5">
          <span className="text-2xl font-semibold tracking-[-0.02em]">{value}</span>
          {of === undefined ? null : <span className="text-ink-muted">{of}</span>}
        </p>
      )}
      {warning === undefined ? null : (
        <p className="mt-1 flex items-center gap-1.5 text-xs text-warning">
          <TriangleAlert aria-hidden className="size-3.5 shrink-0" />
          {warning}
        </p>
      )}
    </Link>
  )
}
