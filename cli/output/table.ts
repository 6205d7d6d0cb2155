import { printable } from './printable.ts'

export interface Column<Row> {
  readonly heading: string
  readonly text: (row: Row) => string
  readonly align?: 'left' | 'right'
}

/** Rows under headings, columns two spaces apart, no trailing spaces. Without rows: `emptySentence`. */
export function formatTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[], emptySentence: string): string {
  if (rows.length === 0) return emptySentence
  const cells = rows.map((row) => columns.map((column) => printable(column.text(row)).replaceAll('\n', ' ')))
  const widths = columns.map((column, index) =>
    Math.max(column.heading.length, ...cells.map((line) => (line[index] ?? '').length)),
  )
  const lines = [columns.map((column) => column.heading.toUpperCase()), ...cells]
  return lines
    .map((line) =>
      line
        .map((cell, index) => pad(cell, widths[index], columns[index]?.align))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** `name:  value` lines with the values in one column. */
export function formatFacts(facts: readonly (readonly [name: string, value: string | undefined])[]): string {
  const known = facts.filter((fact): fact is readonly [string, string] => fact[1] !== undefined)
  const width = Math.max(0, ...known.map(([name]) => name.length)) + 1
  return known.map(([name, value]) => `${`${name}:`.padEnd(width)}  ${printable(value)}`).join('\n')
}

function pad(cell: string, width = 0, align: 'left' | 'right' = 'left'): string {
  return align === 'right' ? cell.padStart(width) : cell.padEnd(width)
}
