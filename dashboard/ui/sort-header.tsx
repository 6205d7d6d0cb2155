import { ArrowDown, ArrowUp } from 'lucide-react'
import type { SortOrder } from '../lib/sort-order.ts'
import { HeaderCell } from './table.tsx'

export interface SortHeaderProps<K extends string> {
  column: K
  label: string
  order: SortOrder<K>
  onSort: (column: K) => void
  className?: string
}

/** A column's head that sorts by it; a second click turns the order round. */
export function SortHeader<K extends string>({ column, label, order, onSort, className }: SortHeaderProps<K>) {
  const active = order.column === column
  const Arrow = order.descending ? ArrowDown : ArrowUp
  return (
    <HeaderCell aria-sort={active ? (order.descending ? 'descending' : 'ascending') : 'none'} className={className}>
      <button
        type="button"
        onClick={() => onSort(column)}
        className="-mx-1 inline-flex items-center gap-1 rounded-sm px-1 font-medium hover:text-ink"
      >
        {label}
        {active ? <Arrow aria-hidden className="size-3" /> : null}
      </button>
    </HeaderCell>
  )
}
