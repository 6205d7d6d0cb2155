'use client'

import type { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import { Bar, BarChart, Tooltip, XAxis, YAxis } from 'recharts'
import { Card, CardHeader } from '../../ui/card.tsx'
import { Skeleton } from '../../ui/skeleton.tsx'
import { activityByDay, type DayActivity } from './fleet-health.ts'

const DAYS_SHOWN = 14

/** Jobs that ended on each of the last days. Undefined while they are being read. */
export function ActivityCard({ jobs, nowMs }: { jobs: readonly JobView[] | undefined; nowMs: number }) {
  const days = jobs && activityByDay(jobs, DAYS_SHOWN, nowMs)
  const sums = days?.reduce(
    (sum, day) => ({ succeeded: sum.succeeded + day.succeeded, failed: sum.failed + day.failed }),
    {
      succeeded: 0,
      failed: 0,
    },
  )
  return (
    <Card>
      <CardHeader title="Jobs" note={`last ${DAYS_SHOWN} days`} />
      <div className="p-4">
        {days === undefined || sums === undefined ? (
          <Skeleton className="h-44" />
        ) : (
          <>
            <p className="mb-3 flex gap-5 text-sm">
              <Legend colour="bg-accent" text={`${sums.succeeded} succeeded`} />
              <Legend colour="bg-danger" text={`${sums.failed} failed`} />
            </p>
            <ActivityChart days={days} />
          </>
        )}
      </div>
    </Card>
  )
}

function Legend({ colour, text }: { colour: string; text: string }) {
  return (
    <span className="inline-flex items-center gap-2">
      <span aria-hidden className={`size-2 rounded-xs ${colour}`} />
      {text}
    </span>
  )
}

function ActivityChart({ days }: { days: readonly DayActivity[] }) {
  return (
    <BarChart
      data={[...days]}
      responsive
      style={{ width: '100%', height: 140 }}
      margin={{ top: 0, right: 0, bottom: 0, left: 0 }}
    >
      <XAxis
        dataKey="day"
        tickLine={false}
        axisLine={{ stroke: 'var(--color-line)' }}
        tick={{ fill: 'var(--color-ink-muted)', fontSize: 11 }}
        tickFormatter={shortDay}
        minTickGap={24}
      />
      <YAxis hide allowDecimals={false} />
      <Tooltip cursor={{ fill: 'var(--color-inset)' }} isAnimationActive={false} content={<DayNote />} />
      <Bar dataKey="succeeded" stackId="jobs" fill="var(--color-accent)" maxBarSize={20} isAnimationActive={false} />
      <Bar dataKey="failed" stackId="jobs" fill="var(--color-danger)" maxBarSize={20} isAnimationActive={false} />
    </BarChart>
  )
}

interface DayNoteProps {
  active?: boolean
  payload?: readonly { payload?: DayActivity }[]
}

function DayNote({ active, payload }: DayNoteProps) {
  const day = payload?.[0]?.payload
  if (active !== true || day === undefined) return null
  return (
    <div className="rounded-md border border-line bg-raised px-2.5 py-1.5 text-xs shadow-raised">
      <p className="font-medium">{shortDay(day.day)}</p>
      <p className="text-ink-muted">
        {day.succeeded} succeeded, {day.failed} failed
      </p>
    </div>
  )
}

function shortDay(day: string): string {
  return new Date(`${day}T12:00:00`).toLocaleDateString(undefined, { month: 'short', day: 'numeric' })
}
