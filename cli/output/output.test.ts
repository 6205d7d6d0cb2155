import type { JobProgress } from '@sendense/shared/contracts/job.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatLocalTime } from './local-time.ts'
import { printable } from './printable.ts'
import { progressFigures, progressLine } from './progress-text.ts'
import { formatFacts, formatTable } from './table.ts'

const copying: JobProgress = {
  jobId: '0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a',
  phase: 'copy',
  sentence: 'Copying disk0',
  doneBytes: 256 * 1024 * 1024,
  totalBytes: 512 * 1024 * 1024,
  bytesPerSecond: 64 * 1024 * 1024,
  at: '2026-11-23T20:00:00.000Z',
}

describe('printable', () => {
  test('nothing that comes out moves the cursor, whatever went in', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        for (const character of printable(text)) {
          const code = character.codePointAt(0) ?? 0
          expect(code === 10 || (code >= 32 && (code < 127 || code > 159))).toBe(true)
        }
      }),
    )
  })
  test('an escape sequence loses its escape', () => {
    expect(printable('web\u001b[2Jserver')).toBe('web\u{fffd}[2Jserver')
  })
  test('ordinary text of any script passes unchanged', () => {
    expect(printable('Zürich 東京 – ok\nnext')).toBe('Zürich 東京 – ok\nnext')
  })
})

describe('formatTable', () => {
  const columns = [
    { heading: 'name', text: (row: { name: string; size: number }) => row.name },
    { heading: 'size', text: (row: { size: number }) => String(row.size), align: 'right' as const },
  ]
  test('columns are aligned and lines have no trailing spaces', () => {
    const rows = [
      { name: 'a', size: 5 },
      { name: 'longer', size: 12_345 },
    ]
    expect(formatTable(rows, columns, 'none')).toBe('NAME     SIZE\na           5\nlonger  12345')
  })
  test('no rows give the sentence', () => {
    expect(formatTable([], columns, 'No VMs.')).toBe('No VMs.')
  })
  test('a row stays on one line', () => {
    expect(formatTable([{ name: 'a\nb\u0007', size: 1 }], columns, '').split('\n')).toHaveLength(2)
  })
})

test('facts that are not known are left out', () => {
  expect(
    formatFacts([
      ['a', '1'],
      ['longer', '2'],
      ['gone', undefined],
    ]),
  ).toBe('a:       1\nlonger:  2')
})

describe('progress', () => {
  test('figures tell share, amount, speed and time left', () => {
    expect(progressFigures(copying)).toBe('50 %, 256 MiB of 512 MiB, 64 MiB/s, about 4 s left')
  })
  test('an unknown total and an unknown speed give no share and no time', () => {
    expect(progressFigures({ ...copying, totalBytes: 0, doneBytes: 0 })).toBe('')
    expect(progressFigures({ ...copying, bytesPerSecond: 0 })).toBe('50 %, 256 MiB of 512 MiB')
  })
  test('a line fits its terminal, whatever is told', () => {
    const bytes = fc.nat(Number.MAX_SAFE_INTEGER)
    fc.assert(
      fc.property(
        fc.string(),
        bytes,
        bytes,
        bytes,
        fc.integer({ min: 2, max: 200 }),
        (sentence, done, total, rate, columns) => {
          const progress = { ...copying, sentence, doneBytes: done, totalBytes: total, bytesPerSecond: rate }
          const line = progressLine(progress, columns)
          expect(Array.from(line).length).toBeLessThan(columns)
          expect(line).not.toMatch(/NaN|Infinity|\n/)
        },
      ),
    )
  })
})

test('an instant is shown in the zone of the reader', () => {
  const instant = new Date(2026, 10, 23, 4, 5, 6)
  expect(formatLocalTime(instant.toISOString())).toBe('2026-11-23 04:05:06')
  expect(formatLocalTime(null)).toBe('–')
})
