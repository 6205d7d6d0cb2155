import { classNames } from '../lib/class-names.ts'
import type { BadgeTone } from './badge.tsx'

const dotColour: { readonly [T in BadgeTone]: string } = {
  neutral: 'bg-ink-faint',
  accent: 'bg-accent',
  success: 'bg-success',
  warning: 'bg-warning',
  danger: 'bg-danger',
}

/** Decoration beside a word that says the same. `pulsing` marks something that goes on. */
export function StatusDot({ tone, pulsing = false }: { tone: BadgeTone; pulsing?: boolean }) {
  return (
    <span
      aria-hidden
      className={classNames('inline-block size-2 shrink-0 rounded-full', dotColour[tone], pulsing && 'animate-breathe')}
    />
  )
}
