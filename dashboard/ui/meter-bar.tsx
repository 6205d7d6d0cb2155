import { classNames } from '../lib/class-names.ts'

export interface MeterBarProps {
  label: string
  used: number
  total: number
  /** Share from which the bar warns, then alarms. */
  warnAt?: number
  alarmAt?: number
}

/** How much of something limited is used. */
export function MeterBar({ label, used, total, warnAt = 0.8, alarmAt = 0.92 }: MeterBarProps) {
  const share = total > 0 ? Math.min(1, Math.max(0, used / total)) : 0
  const colour = share >= alarmAt ? 'bg-danger' : share >= warnAt ? 'bg-warning' : 'bg-accent'
  return (
    <div
      // oxlint-disable-next-line jsx-a11y/prefer-tag-over-role -- browsers draw <meter> each in its own way
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
      className="h-1.5 w-full overflow-hidden rounded-full bg-line"
    >
      <div className={classNames('h-full rounded-full', colour)} style={{ width: `${share * 100}%` }} />
    </div>
  )
}
