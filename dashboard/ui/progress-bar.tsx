import { classNames } from '../lib/class-names.ts'

export interface ProgressBarProps {
  label: string
  /** 0 to 100; null while it is not known. */
  percent: number | null
  className?: string
}

export function ProgressBar({ label, percent, className }: ProgressBarProps) {
  const known = percent !== null
  return (
    <div
      // oxlint-disable-next-line jsx-a11y/prefer-tag-over-role -- <progress> cannot be animated alike in all browsers
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      {...(known ? { 'aria-valuenow': Math.floor(percent), 'aria-valuetext': `${Math.floor(percent)} %` } : {})}
      className={classNames('h-1.5 w-full overflow-hidden rounded-full bg-line', className)}
    >
      {known ? (
        <div
          className="h-full rounded-full bg-accent transition-[width] duration-700 ease-linear"
          style={{ width: `${percent}%` }}
        />
      ) : (
        <div className="h-full w-2/5 animate-travel rounded-full bg-accent/70" />
      )}
    </div>
  )
}
