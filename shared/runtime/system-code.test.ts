import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { systemCode } from './system-code.ts'

/** As Node 24 makes it on Linux; seen with a write that a quota refused. */
function unnamedError(code: string, errno: number): Error {
  return Object.assign(new Error(`${code}: ${code}, write`), { errno, code, syscall: 'write' })
}

test('errors of the system have its name for them, also where Node has none', async () => {
  const missing = await readFile('/nobody/has/this').catch((error: unknown) => error)
  expect(systemCode(missing)).toBe('ENOENT')
  expect(systemCode(unnamedError('Unknown system error -122', -122))).toBe('EDQUOT')
  expect(systemCode(unnamedError('UNKNOWN', -122))).toBe('EDQUOT')
  expect(systemCode(unnamedError('Unknown system error -116', -116))).toBe('ESTALE')
})

test('one that is not the system’s has none, and an unknown number keeps what Node says', () => {
  expect(systemCode(new Error('words'))).toBeUndefined()
  expect(systemCode(Object.assign(new Error('words'), { code: 'ERR_INVALID_ARG_TYPE' }))).toBeUndefined()
  expect(systemCode('ENOENT')).toBeUndefined()
  expect(systemCode(unnamedError('Unknown system error -99999', -99_999))).toBe('Unknown system error -99999')
})
