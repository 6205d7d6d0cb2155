'use client'

import { ChevronDown } from 'lucide-react'
import type { ReactNode } from 'react'
import { classNames } from '../lib/class-names.ts'

export interface SelectFieldProps {
  label: string
  value: string
  onValueChange: (value: string) => void
  /** `<option>` and `<optgroup>`. */
  children: ReactNode
  className?: string
}

/** One of many, in the browser's own list: it is as good as the device's. */
export function SelectField({ label, value, onValueChange, children, className }: SelectFieldProps) {
  return (
    <span className={classNames('relative block', className)}>
      <select
        aria-label={label}
        value={value}
        onChange={(event) => onValueChange(event.target.value)}
        className="h-8 w-full appearance-none truncate rounded-md border border-line-strong bg-surface pr-8 pl-2.5 text-sm"
      >
        {children}
      </select>
      <ChevronDown aria-hidden className="pointer-events-none absolute top-2 right-2.5 size-4 text-ink-muted" />
    </span>
  )
}
