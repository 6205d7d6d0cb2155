export interface SortOrder<K extends string> {
  readonly column: K
  readonly descending: boolean
}

/** A click on `column`: the same column turns round, another one starts ascending. */
export function nextSortOrder<K extends string>(order: SortOrder<K>, column: K): SortOrder<K> {
  return { column, descending: order.column === column && !order.descending }
}

/**
 * Sorted copy of `items` by `keyOf`. Text is compared as people read it (`vm-2` before `vm-10`), and what has
 * no key (null) comes last in either direction.
 */
export function sortBy<T>(items: readonly T[], keyOf: (item: T) => string | number | null, descending: boolean): T[] {
  return items.toSorted((a, b) => {
    const [left, right] = [keyOf(a), keyOf(b)]
    if (left === null || right === null) return Number(left === null) - Number(right === null)
    const order =
      typeof left === 'number' && typeof right === 'number'
        ? left - right
        : String(left).localeCompare(String(right), 'en', { numeric: true })
    return descending ? -order : order
  })
}
