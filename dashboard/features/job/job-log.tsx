import type { JobLogEntry } from '@sendense/shared/contracts/job.ts'
import { asSentence } from '../../lib/as-sentence.ts'
import { classNames } from '../../lib/class-names.ts'
import { formatDateTime, formatTimeOfDay } from '../../lib/relative-time.ts'

const levelStyle: { readonly [L in JobLogEntry['level']]: string } = {
  info: '',
  warning: 'text-warning',
  error: 'text-danger',
}

/** What the agent wrote down while it worked, oldest first. */
export function JobLog({ entries }: { entries: readonly JobLogEntry[] }) {
  return (
    <ol aria-label="Log" className="divide-y divide-line/60 px-4 py-1.5 text-sm">
      {entries.map((entry) => (
        <li key={entry.sequence} className="flex gap-4 py-1.5">
          <time
            dateTime={entry.at}
            title={formatDateTime(entry.at)}
            className="shrink-0 font-mono text-xs/5 text-ink-muted"
          >
            {formatTimeOfDay(entry.at)}
          </time>
          <span className="w-20 shrink-0 truncate text-ink-muted">{entry.step}</span>
          <span className={classNames('min-w-0 wrap-anywhere', levelStyle[entry.level])}>
            {entry.level === 'info' ? null : <span className="font-medium capitalize">{entry.level}: </span>}
            {asSentence(entry.sentence)}
          </span>
        </li>
      ))}
    </ol>
  )
}
