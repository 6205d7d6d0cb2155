import * as z from 'zod'

const Count = z.int().nonnegative()
export const TestCounts = z.strictObject({ passed: Count, failed: Count, skipped: Count })
export type TestCounts = z.infer<typeof TestCounts>

export function addCounts(one: TestCounts, other: TestCounts): TestCounts {
  return {
    passed: one.passed + other.passed,
    failed: one.failed + other.failed,
    skipped: one.skipped + other.skipped,
  }
}

/** Sums the JSON lines that the reporter appended. Throws where one is not counts. */
export function sumCountLines(text: string): TestCounts {
  const lines = text.split('\n').filter((line) => line !== '')
  return lines.map((line) => TestCounts.parse(JSON.parse(line))).reduce(addCounts, { passed: 0, failed: 0, skipped: 0 })
}

/** The one line that CI reads, alone on the last line of the output. */
export function closingLine({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}
