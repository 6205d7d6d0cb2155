import { expect, test } from 'vitest'
import { z } from 'zod'
import { newId } from './identifiers.ts'

test('ids are UUIDs of version 7 that sort by their time', () => {
  const times = [0, 1, 1_700_000_000_000, 1_700_000_000_001, 4_000_000_000_000]
  const ids = times.map((time) => newId(new Date(time)))
  for (const id of ids) expect(z.uuidv7().safeParse(id).success).toBe(true)
  expect(ids.toSorted()).toEqual(ids)
})

test('a thousand ids of one instant are all different', () => {
  const now = new Date()
  expect(new Set(Array.from({ length: 1000 }, () => newId(now))).size).toBe(1000)
})
