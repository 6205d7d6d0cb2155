import { readFile } from 'node:fs/promises'
import { errorCodeList } from '@sendense/shared/errors/error-codes.ts'
import { expect, test } from 'vitest'
import { codesInDocument, ERRORS_DOCUMENT, errorsDocument } from './errors-document.ts'

test('ERRORS.md lists every code of the table and no other, once', async () => {
  const listed = codesInDocument(await readFile(ERRORS_DOCUMENT, 'utf8'))
  expect(listed.toSorted()).toEqual([...errorCodeList].toSorted())
})

test('ERRORS.md says what the table says; mend it with: npm run errors', async () => {
  expect(await readFile(ERRORS_DOCUMENT, 'utf8')).toBe(errorsDocument())
})
