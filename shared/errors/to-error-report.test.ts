import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ErrorReport } from '../contracts/error-report.ts'
import { errorCodeList } from './error-codes.ts'
import { PlatformError } from './platform-error.ts'
import { toErrorReport } from './to-error-report.ts'

const value = fc.oneof(fc.string({ maxLength: 3000, size: 'max' }), fc.double(), fc.boolean())
const name = fc.string({ minLength: 1, maxLength: 20 }).filter((text) => text !== '__proto__')

test('whatever an error says of itself, its report is one that the other side takes', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...errorCodeList),
      fc.string({ maxLength: 6000, size: 'max' }),
      fc.dictionary(name, value, { maxKeys: 60, size: 'max' }),
      (code, message, details) => {
        const report = toErrorReport(new PlatformError(code, message, { details }))
        expect(ErrorReport.parse(JSON.parse(JSON.stringify(report)))).toMatchObject({ code })
      },
    ),
    { numRuns: 50 },
  )
})
