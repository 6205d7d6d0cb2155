import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { alertHeadline } from '@sendense/shared/errors/alert-words.ts'
import { errorCodes } from '@sendense/shared/errors/error-codes.ts'
import { expect, test } from 'vitest'
import { acknowledgementLine, formatAlerts } from './alert-text.ts'
import { formatLocalTime } from './local-time.ts'

const id = '0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a'
const at = '2026-11-23T20:00:00.000Z'
const replayed: AlertView = {
  alertId: id,
  severity: 'critical',
  agentId: id,
  hostname: 'edge-1',
  siteId: id,
  siteName: 'Main',
  customerId: id,
  customerName: 'Acme',
  vm: { vmId: id, name: 'web-1' },
  error: { code: 'command.replayed', message: 'command 7 has number 1 after 9', advice: 'call me', details: {} },
  raisedAt: at,
  acknowledged: null,
}
const strange: AlertView = {
  ...replayed,
  vm: null,
  error: { code: 'tape.ejected', message: 'the tape\u001b[2J\nis out', advice: 'put it\nback', details: {} },
}

test('a table tells what happened in a sentence, and each kind of alert what to do, once', () => {
  const text = formatAlerts([replayed, { ...replayed, severity: 'info' }, strange], { all: false })
  const headline = alertHeadline(replayed.error)
  const lines = text.split('\n')
  expect(lines[0]).toMatch(/^ALERT +SEVERITY +RAISED +AGENT +SITE +VM +WHAT HAPPENED$/)
  expect(lines[1]).toBe(`${id}  critical  ${formatLocalTime(at)}  edge-1  Main  web-1  ${headline}`)
  expect(lines[3]).toMatch(/ –      the tape\u{fffd}\[2J is out$/u)
  expect(lines.slice(4)).toEqual([
    '',
    'What to do:',
    `  ${headline}: ${errorCodes['command.replayed'].advice}`,
    '  the tape\u{fffd}[2J is out: put it back',
  ])
})

test('how many of the same were not told one by one is told', () => {
  const error = { ...replayed.error, details: { withheldBefore: 5 } }
  expect(formatAlerts([{ ...replayed, error }], { all: false })).toMatch(/refused, and 5 more before it$/m)
})

test('with all of them who acknowledged it is told, and nothing where nobody did', () => {
  const acknowledged = { at, by: 'ann@example.com' }
  const [heading, first, second] = formatAlerts([{ ...replayed, acknowledged }, replayed], { all: true }).split('\n')
  expect(heading).toContain('ACKNOWLEDGED')
  expect(first).toContain(`${formatLocalTime(at)} by ann@example.com`)
  expect(second).toMatch(/ web-1 {2}no {2}/)
  expect(acknowledgementLine({ ...replayed, acknowledged })).toBe(
    `acknowledged by ann@example.com, ${formatLocalTime(at)}: ${alertHeadline(replayed.error)} (edge-1 at Main)`,
  )
})

test('none give a sentence', () => {
  expect(formatAlerts([], { all: false })).toBe('No open alerts.')
  expect(formatAlerts([], { all: true })).toBe('No alerts.')
})
