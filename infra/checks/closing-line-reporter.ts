import { appendFileSync } from 'node:fs'
import type { Reporter, SerializedError, TestModule } from 'vitest/node'
import { addCounts, closingLine, type TestCounts } from './test-counts.ts'

/**
 * Counts the tests of one vitest run. With SENDENSE_TEST_COUNTS_FILE set, the counts are appended there as a JSON line for
 * whoever sums several runs; otherwise they are printed as the closing line. A file that cannot be loaded, and an error
 * outside tests, count as failed tests: nothing that went wrong is left out.
 */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    let counts: TestCounts = { passed: 0, failed: unhandledErrors.length, skipped: 0 }
    for (const file of modules) counts = addCounts(counts, countFile(file))
    const countsFile = process.env['SENDENSE_TEST_COUNTS_FILE']
    if (countsFile === undefined) process.stdout.write(`\n${closingLine(counts)}\n`)
    else appendFileSync(countsFile, `${JSON.stringify(counts)}\n`)
  }
}

function countFile(file: TestModule): TestCounts {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const test of file.children.allTests()) {
    const { state } = test.result()
    if (state === 'pending') counts.skipped += 1 // never ran: the run was cut short
    else counts[state] += 1
  }
  if (file.state() === 'failed' && counts.failed === 0) counts.failed += 1
  return counts
}
