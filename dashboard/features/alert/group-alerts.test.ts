import { expect, test } from 'vitest'
import { alertTitle, timesOf } from './alert-words.ts'
import { createAlertView } from './alert.fixture.ts'
import { groupAlerts } from './group-alerts.ts'

const at = (minute: number) => new Date(Date.UTC(2026, 10, 23, 10, minute)).toISOString()
const errorOf = (code: string, details: Record<string, string | number> = {}) => ({
  code,
  message: 'm',
  advice: 'a',
  details,
})

test('what one agent tells again and again is one group with its newest first, and counts what was withheld', () => {
  const first = createAlertView({ alertId: '1', raisedAt: at(1) })
  const second = createAlertView({
    alertId: '2',
    raisedAt: at(2),
    error: errorOf('command.replayed', { withheldBefore: 9 }),
  })
  const [group, ...others] = groupAlerts([first, second])
  expect(others).toEqual([])
  expect(group).toMatchObject({ newest: second, alerts: [second, first], times: 11 })
})

test('another agent, code or severity is another group; the worst come first, then the newest', () => {
  const info = createAlertView({ alertId: '1', severity: 'info', raisedAt: at(9) })
  const old = createAlertView({ alertId: '2', raisedAt: at(1) })
  const other = createAlertView({ alertId: '3', raisedAt: at(5), error: errorOf('command.invalid') })
  const elsewhere = createAlertView({ alertId: '4', raisedAt: at(3), agentId: 'another' })
  const warning = createAlertView({ alertId: '5', severity: 'warning', raisedAt: at(0) })
  const ids = groupAlerts([info, old, other, elsewhere, warning]).map(({ newest }) => newest.alertId)
  expect(ids).toEqual(['3', '4', '2', '5', '1'])
})

test('a count that is none counts once', () => {
  for (const withheldBefore of [-5, 0.5, 'many', Number.MAX_VALUE]) {
    expect(timesOf({ error: errorOf('command.replayed', { withheldBefore }) })).toBe(1)
  }
})

test('a message of a code nobody knows begins with a capital, as a sentence does', () => {
  expect(alertTitle({ error: { ...errorOf('tape.ejected'), message: 'the tape is out' } })).toBe('The tape is out')
})
