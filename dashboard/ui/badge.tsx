import { cva, type VariantProps } from 'class-variance-authority'
import type { ComponentProps } from 'react'
import { classNames } from '../lib/class-names.ts'

const badgeStyle = cva(
  'inline-flex h-5.5 items-center gap-1.5 rounded-full px-2 text-xs font-medium whitespace-nowrap [&_svg]:size-3.5',
  {
    variants: {
      tone: {
        neutral: 'bg-inset text-ink-muted',
        accent: 'bg-accent-soft text-accent',
        success: 'bg-success-soft text-success',
        warning: 'bg-warning-soft text-warning',
        danger: 'bg-danger-soft text-danger',
      },
    },
    defaultVariants: { tone: 'neutral' },
  },
)

export type BadgeTone = NonNullable<VariantProps<typeof badgeStyle>['tone']>
export type BadgeProps = ComponentProps<'span'> & VariantProps<typeof badgeStyle>

/** A state in one or two words. The words carry the meaning, the colour only helps. */
export function Badge({ tone, className, ...props }: BadgeProps) {
  return <span className={classNames(badgeStyle({ tone }), className)} {...props} />
}
