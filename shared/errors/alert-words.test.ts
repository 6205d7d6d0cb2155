import { expect, test } from 'vitest'
import { alertAdvice, alertHeadline } from './alert-words.ts'
import { errorCodeList, errorCodes } from './error-codes.ts'

const words = { message: 'the words of an agent', advice: 'call this number' }

test('every refusal of a command or at the tunnel, and every alert of the cloud, has a headline that names no id', () => {
  const raised = errorCodeList.filter((code) => code.startsWith('command.'))
  expect(raised.length).toBeGreaterThan(7)
  const tunnel = [
    'login_refused',
    'token_invalid',
    'port_not_granted',
    'request_refused',
    'rate_limited',
    'protocol_violation',
  ]
  const others = [...tunnel.map((name) => `tunnel.${name}`), 'agent.event_refused', 'agent.events_lost']
  for (const code of [...raised, ...others]) {
    const headline = alertHeadline({ ...words, code })
    expect({ code, headline }).toEqual({ code, headline: expect.stringMatching(/^[A-Z][^.]+[^.]$/) as string })
    expect(headline).not.toContain(words.message)
  }
})

test('where this version knows the code it tells its own advice, never that of the message', () => {
  for (const code of errorCodeList) expect(alertAdvice({ ...words, code })).toBe(errorCodes[code].advice)
})

test('a code of the future is told in the words it came with', () => {
  const future = { ...words, code: 'tape.ejected' }
  expect(alertHeadline(future)).toBe(words.message)
  expect(alertAdvice(future)).toBe(words.advice)
})

test('no advice sends people to what the product does not show', () => {
  for (const code of errorCodeList) expect(errorCodes[code].advice).not.toMatch(/audit/)
})
