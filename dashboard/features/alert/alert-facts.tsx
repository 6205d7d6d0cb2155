import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { formatDateTime } from '../../lib/relative-time.ts'

/** What programs and support want to know of an alert, closed at first. */
export function AlertFacts({ alert }: { alert: AlertView }) {
  const { error } = alert
  const facts: [string, string][] = [
    ['Message', error.message],
    ['Raised', formatDateTime(alert.raisedAt)],
    ['Code', error.code],
    ['Alert', alert.alertId],
    ...Object.entries(error.details).map(([name, value]): [string, string] => [name, String(value)]),
  ]
  return (
    <details className="mt-2 text-sm">
      <summary className="w-fit cursor-pointer rounded-sm text-ink-muted hover:text-ink">Details</summary>
      <dl className="mt-2 grid gap-x-4 gap-y-1 rounded-md bg-inset px-3 py-2.5 text-xs sm:grid-cols-[max-content_minmax(0,1fr)]">
        {facts.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-ink-muted">{name}</dt>
            <dd className="wrap-anywhere not-last:max-sm:mb-1.5">{value}</dd>
          </div>
        ))}
      </dl>
    </details>
  )
}
