import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { CircleAlert, RotateCw } from 'lucide-react'
import type { z } from 'zod'
import { errorReportOf } from '../lib/api-error.ts'
import { asSentence } from '../lib/as-sentence.ts'
import { classNames } from '../lib/class-names.ts'
import { Button } from './button.tsx'

type Report = z.infer<typeof ErrorReport>

export interface ErrorNoticeProps {
  /** Anything a query or mutation ended with. */
  error?: unknown
  /** Or a report that came as data, of a failed job for instance. */
  report?: Report
  onRetry?: (() => void) | undefined
  className?: string
}

/** What went wrong, what to do now, and the code to tell support. */
export function ErrorNotice({ error, report, onRetry, className }: ErrorNoticeProps) {
  const { message, advice, code } = report ?? errorReportOf(error)
  return (
    <div
      role="alert"
      className={classNames(
        'flex items-start gap-3 rounded-lg border border-danger/35 bg-danger-soft p-3.5',
        className,
      )}
    >
      <CircleAlert aria-hidden className="mt-0.5 size-4.5 shrink-0 text-danger" />
      <div className="min-w-0 flex-1 space-y-1">
        <p className="font-medium wrap-anywhere">{asSentence(message)}</p>
        <p className="text-sm text-ink-muted">{advice}</p>
        <p className="font-mono text-xs text-ink-muted">{code}</p>
      </div>
      {onRetry === undefined ? null : (
        <Button size="sm" onClick={onRetry}>
          <RotateCw aria-hidden />
          Retry
        </Button>
      )}
    </div>
  )
}
