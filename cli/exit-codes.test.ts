import { errorCodeList } from '@sendense/shared/errors/error-codes.ts'
import { expect, test } from 'vitest'
import { exitCodeHelp, exitCodeOf, exitCodes } from './exit-codes.ts'

function exitCodeOfCode(code: string): number {
  return exitCodeOf({ code, message: '', advice: '', details: {} })
}

test.each([
  ['identity.session_required', 3],
  ['identity.credentials_invalid', 3],
  ['identity.forbidden', 7],
  ['resource.not_found', 4],
  ['source.vm_not_found', 4],
  ['job.already_running', 6],
  ['cloud.unreachable', 5],
  ['input.invalid', 2],
  ['internal.unexpected', 1],
  ['tomorrow.not_known_yet', 1],
])('%s ends with %i', (code, exitCode) => {
  expect(exitCodeOfCode(code)).toBe(exitCode)
})

test('no error ends with 0', () => {
  for (const code of errorCodeList) expect(exitCodeOfCode(code)).toBeGreaterThan(0)
})

test('every exit code is documented', () => {
  for (const exitCode of Object.values(exitCodes)) expect(exitCodeHelp).toMatch(new RegExp(`^ +${exitCode}  `, 'm'))
})
