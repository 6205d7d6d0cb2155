import { expect, test } from 'vitest'
import { errorReportOf, isSessionMissing, mayRetry } from './api-error.ts'

function apiError(code: string): unknown {
  return Object.assign(new Error('x'), { data: { report: { code, message: 'm', advice: 'a', details: {} } } })
}

test('the report of the API is shown as it is, also with a code this build does not know', () => {
  expect(errorReportOf(apiError('future.code'))).toEqual({
    code: 'future.code',
    message: 'm',
    advice: 'a',
    details: {},
  })
})

test.each([new TypeError('Failed to fetch'), undefined, { data: {} }, { data: { report: { code: 'x' } } }])(
  'what carries no report is told as a lost connection (%s)',
  (error) => {
    expect(errorReportOf(error).code).toBe('network.unreachable')
  },
)

test('only a missing session leads to the log-in', () => {
  expect(isSessionMissing(apiError('identity.session_required'))).toBe(true)
  expect(isSessionMissing(apiError('identity.forbidden'))).toBe(false)
  expect(isSessionMissing(new TypeError('Failed to fetch'))).toBe(false)
})

test('asking again follows the retry advice of the code', () => {
  expect(mayRetry(apiError('database.unavailable'))).toBe(true)
  expect(mayRetry(apiError('resource.not_found'))).toBe(false)
  expect(mayRetry(apiError('identity.session_required'))).toBe(false)
  expect(mayRetry(new TypeError('Failed to fetch'))).toBe(true)
})
