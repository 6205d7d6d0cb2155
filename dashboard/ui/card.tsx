import type { ComponentProps, ReactNode } from 'react'
import { classNames } from '../lib/class-names.ts'

export function Card({ className, ...props }: ComponentProps<'section'>) {
  return (
    <section className={classNames('rounded-xl border border-line bg-surface shadow-card', className)} {...props} />
  )
}

export interface CardHeaderProps {
  title: ReactNode
  /** Beside the title, muted: a count, a time. */
  note?: ReactNode
  actions?: ReactNode
}

export function CardHeader({ title, note, actions }: CardHeaderProps) {
  return (
    <div className="flex min-h-12 flex-wrap items-center justify-between gap-x-4 gap-y-2 border-b border-line px-4 py-2.5">
      <h2 className="flex items-baseline gap-2 font-semibold">
        {title}
        {note === undefined ? null : <span className="text-sm font-normal text-ink-muted">{note}</span>}
      </h2>
      {actions === undefined ? null : <div className="flex items-center gap-2">{actions}</div>}
    </div>
  )
}
