'use client'

import { Switch } from 'radix-ui'
import { useId, type ReactNode } from 'react'

export interface SwitchFieldProps {
  label: string
  hint: ReactNode
  checked: boolean
  onCheckedChange: (checked: boolean) => void
}

export function SwitchField({ label, hint, checked, onCheckedChange }: SwitchFieldProps) {
  const id = useId()
  return (
    <div className="flex items-start justify-between gap-6">
      <div>
        <label htmlFor={id} className="text-sm font-medium">
          {label}
        </label>
        <p id={`${id}-hint`} className="text-xs text-ink-muted">
          {hint}
        </p>
      </div>
      <Switch.Root
        id={id}
        checked={checked}
        onCheckedChange={onCheckedChange}
        aria-describedby={`${id}-hint`}
        className="mt-0.5 h-5 w-9 shrink-0 rounded-full bg-line-strong p-0.5 transition-colors data-[state=checked]:bg-accent"
      >
        <Switch.Thumb className="block size-4 rounded-full bg-surface shadow-card transition-transform data-[state=checked]:translate-x-4" />
      </Switch.Root>
    </div>
  )
}
