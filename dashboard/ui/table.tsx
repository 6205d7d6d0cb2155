import type { ComponentProps, ReactNode } from 'react'
import { classNames } from '../lib/class-names.ts'

/** A named table. On phones its rows become cards; between, it scrolls sideways where the screen is too narrow. */
export function Table({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="overflow-x-auto">
      <table aria-label={label} className="stacking-table w-full border-collapse text-sm">
        {children}
      </table>
    </div>
  )
}

export function TableHead({ children }: { children: ReactNode }) {
  return (
    <thead className="border-b border-line text-left text-xs text-ink-muted">
      <tr>{children}</tr>
    </thead>
  )
}

export function HeaderCell({ className, ...props }: ComponentProps<'th'>) {
  return (
    <th
      scope="col"
      className={classNames('h-9 px-3 font-medium whitespace-nowrap first:pl-4 last:pr-4', className)}
      {...props}
    />
  )
}

export function TableBody({ children }: { children: ReactNode }) {
  return <tbody className="divide-y divide-line">{children}</tbody>
}

export function Row({ className, ...props }: ComponentProps<'tr'>) {
  return <tr className={classNames('transition-colors hover:bg-inset/60', className)} {...props} />
}

export function Cell({ className, ...props }: ComponentProps<'td'>) {
  return <td className={classNames('h-11 px-3 py-1.5 align-middle first:pl-4 last:pr-4', className)} {...props} />
}
