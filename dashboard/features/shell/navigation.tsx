'use client'

import Link from 'next/link'
import { usePathname } from 'next/navigation'
import { classNames } from '../../lib/class-names.ts'
import { useActiveJobs } from '../job/use-active-jobs.ts'
import { isWithin, places } from './places.ts'

export function Navigation() {
  const path = usePathname()
  const activeCount = useActiveJobs().data?.length ?? 0
  return (
    <nav aria-label="Main" className="flex flex-col gap-0.5 px-3">
      {places.map(({ href, label, icon: Icon }) => {
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
            {href === '/jobs' && activeCount > 0 ? (
              <span
                aria-label={`${activeCount} active`}
                className="ml-auto rounded-full bg-accent px-1.5 text-xs font-medium text-accent-ink"
              >
                {activeCount}
              </span>
            ) : null}
          </Link>
        )
      })}
    </nav>
  )
}
