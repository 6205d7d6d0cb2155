import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { alertAdvice, alertHeadline } from '@sendense/shared/errors/alert-words.ts'
import { formatLocalTime } from './local-time.ts'
import { printable } from './printable.ts'
import { type Column, formatTable } from './table.ts'

/** A table of alerts, then what to do about each kind of them. */
export function formatAlerts(alerts: readonly AlertView[], { all }: { all: boolean }): string {
  const acknowledged: Column<AlertView>[] = all ? [{ heading: 'acknowledged', text: acknowledgedText }] : []
  const table = formatTable(
    alerts,
    [
      { heading: 'alert', text: (alert) => alert.alertId },
      { heading: 'severity', text: (alert) => alert.severity },
      { heading: 'raised', text: (alert) => formatLocalTime(alert.raisedAt) },
      { heading: 'agent', text: (alert) => alert.hostname },
      { heading: 'site', text: (alert) => alert.siteName },
      { heading: 'vm', text: (alert) => alert.vm?.name ?? '–' },
      ...acknowledged,
      { heading: 'what happened', text: whatHappened },
    ],
    all ? 'No alerts.' : 'No open alerts.',
  )
  const advice = adviceLines(alerts)
  return advice.length === 0 ? table : [table, '', 'What to do:', ...advice].join('\n')
}

/** One line: `acknowledged by ann@example.com, 2026-11-23 21:04:05: An old command … (edge-1 at Main)`. */
export function acknowledgementLine(alert: AlertView): string {
  const { acknowledged, hostname, siteName } = alert
  const who = acknowledged === null ? 'open' : `acknowledged by ${acknowledged.by}, ${formatLocalTime(acknowledged.at)}`
  return oneLine(`${who}: ${whatHappened(alert)} (${hostname} at ${siteName})`)
}

function whatHappened({ error }: AlertView): string {
  const { withheldBefore } = error.details
  const headline = alertHeadline(error)
  return typeof withheldBefore === 'number' ? `${headline}, and ${withheldBefore} more before it` : headline
}

function acknowledgedText({ acknowledged }: AlertView): string {
  return acknowledged === null ? 'no' : `${formatLocalTime(acknowledged.at)} by ${acknowledged.by}`
}

function adviceLines(alerts: readonly AlertView[]): string[] {
  const byHeadline = new Map(alerts.map(({ error }) => [alertHeadline(error), alertAdvice(error)]))
  return [...byHeadline].map(([headline, advice]) => oneLine(`  ${headline}: ${advice}`))
}

function oneLine(text: string): string {
  return printable(text).replaceAll('\n', ' ')
}
