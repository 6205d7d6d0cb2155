import { ChevronRight } from 'lucide-react'
import Link from 'next/link'
import type { ReactNode } from 'react'

export interface PageHeaderProps {
  title: ReactNode
  /** Directly beside the title: a state. */
  badge?: ReactNode
  subtitle?: ReactNode
  actions?: ReactNode
  /** The page above this one. */
  parent?: { href: string; label: string }
}

export function PageHeader({ title, badge, subtitle, actions, parent }: PageHeaderProps) {
  return (
    <header className="mb-5 flex flex-wrap items-end justify-between gap-x-6 gap-y-3">
      <div className="min-w-0">
        {parent === undefined ? null : (
          <nav aria-label="Breadcrumb" className="mb-1 flex items-center gap-1 text-sm text-ink-muted">
            <Link href={parent.href} className="rounded-sm hover:text-ink hover:underline">
              {parent.label}
            </Link>
            <ChevronRight aria-hidden className="size-3.5" />
          </nav>
        )}
        <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
          <h1 className="text-xl font-semibold tracking-[-0.015em] wrap-anywhere">{title}</h1>
          {badge}
        </div>
        {subtitle === undefined ? null : <div className="mt-0.5 text-sm text-ink-muted">{subtitle}</div>}
      </div>
      {actions === undefined ? null : <div className="flex flex-wrap items-center gap-2">{actions}</div>}
    </header>
  )
}
