'use client'

import type { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { Bar, BarChart, Tooltip, XAxis, YAxis } from 'recharts'
import { formatShortDateTime } from '../../lib/relative-time.ts'
import { modeWord, sumDisks } from './restore-point-facts.ts'

const POINTS_SHOWN_MAX = 40
const READ_FLOOR_BYTES = 1024 * 1024

/** How much each backup read, oldest on the left, on a logarithmic scale: fulls tower, increments stay visible. */
export function RestorePointChart({ points }: { points: readonly RestorePointView[] }) {
  const bars = points
    .slice(0, POINTS_SHOWN_MAX)
    .toReversed()
    .map((point) => {
      const { readBytes, storedBytes, modes } = sumDisks(point.disks)
      return {
        id: point.restorePointId,
        when: formatShortDateTime(point.takenAt),
        height: Math.log2(Math.max(readBytes, READ_FLOOR_BYTES) / READ_FLOOR_BYTES + 1),
        readBytes,
        storedBytes,
        modes: modes.map((mode) => modeWord[mode]).join(', '),
      }
    })
  return (
    <figure className="border-b border-line px-4 pt-3 pb-1" aria-label="Data read by each backup">
      <figcaption className="mb-1 text-xs text-ink-muted">Read by each backup, logarithmic</figcaption>
      <BarChart
        data={bars}
        responsive
        style={{ width: '100%', height: 72 }}
        margin={{ top: 2, right: 0, bottom: 0, left: 0 }}
      >
        <XAxis dataKey="id" hide />
        <YAxis hide domain={[0, 'dataMax']} />
        <Tooltip cursor={{ fill: 'var(--color-inset)' }} isAnimationActive={false} content={<BarNote />} />
        <Bar
          dataKey="height"
          fill="var(--color-accent)"
          radius={[2, 2, 0, 0]}
          maxBarSize={22}
          isAnimationActive={false}
        />
      </BarChart>
    </figure>
  )
}

interface BarNoteProps {
  active?: boolean
  payload?: readonly {
    payload?: { when: string; readBytes: number; storedBytes: number; modes: string }
  }[]
}

function BarNote({ active, payload }: BarNoteProps) {
  const bar = payload?.[0]?.payload
  if (active !== true || bar === undefined) return null
  return (
    <div className="rounded-md border border-line bg-raised px-2.5 py-1.5 text-xs shadow-raised">
      <p className="font-medium">{bar.when}</p>
      <p className="text-ink-muted">
        {bar.modes}: {formatByteSize(bar.readBytes)} read, {formatByteSize(bar.storedBytes)} stored
      </p>
    </div>
  )
}
