import { expect, test } from 'vitest'
import { nextSortOrder, sortBy } from './sort-order.ts'

test('names are sorted as people read them, and the input is left alone', () => {
  const names = ['vm-10', 'vm-2', 'app', 'vm-1']
  expect(sortBy(names, (name) => name, false)).toEqual(['app', 'vm-1', 'vm-2', 'vm-10'])
  expect(names).toEqual(['vm-10', 'vm-2', 'app', 'vm-1'])
})

test('what has no key is last in both directions', () => {
  const items = [3, null, 1, null, 2]
  expect(sortBy(items, (item) => item, false)).toEqual([1, 2, 3, null, null])
  expect(sortBy(items, (item) => item, true)).toEqual([3, 2, 1, null, null])
})

test('a second click on a column turns the order round, another column starts ascending', () => {
  const first = nextSortOrder({ column: 'name', descending: false }, 'size')
  expect(first).toEqual({ column: 'size', descending: false })
  expect(nextSortOrder(first, 'size')).toEqual({ column: 'size', descending: true })
})
