import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { errorCodeList, errorCodes } from '@sendense/shared/errors/error-codes.ts'
import { checkoutDir } from './checkout-files.ts'

export const ERRORS_DOCUMENT = path.join(checkoutDir, 'shared/errors/ERRORS.md')

const HEAD = `# Errors

Every error that the product answers with has one of these codes. Programs act on the code, never on the message. Retry says
whether the same call may succeed later: \`never\`, \`backoff\` (try again later), \`after-fix\` (somebody must change something).

Made from \`error-codes.ts\` by \`node infra/checks/errors-document.ts --write\`; a test holds both together.
`

/** ERRORS.md, from the table of codes: one section a family, one row a code. */
export function errorsDocument(): string {
  const families = Map.groupBy(errorCodeList, (code) => code.slice(0, code.indexOf('.')))
  const sections = [...families].map(([family, codes]) => {
    const rows = codes.map((code) => {
      const { retry, httpStatus, advice } = errorCodes[code]
      return `| \`${code}\` | ${retry} | ${httpStatus} | ${advice.replaceAll('|', String.raw`\|`)} |`
    })
    return [`## ${family}`, '', '| Code | Retry | HTTP | What to do |', '| --- | --- | --- | --- |', ...rows, ''].join(
      '\n',
    )
  })
  return [HEAD, ...sections].join('\n')
}

/** The codes a document lists in its tables, in its order. */
export function codesInDocument(text: string): string[] {
  return [...text.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1] ?? '')
}

if (import.meta.main) {
  const current = await readFile(ERRORS_DOCUMENT, 'utf8').catch(() => '')
  const wanted = errorsDocument()
  if (process.argv.includes('--write')) await writeFile(ERRORS_DOCUMENT, wanted)
  else if (current !== wanted) {
    process.stderr.write('shared/errors/ERRORS.md is not what error-codes.ts says: run this with --write\n')
    process.exitCode = 1
  }
}
