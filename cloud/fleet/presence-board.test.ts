import { expect, test } from 'vitest'
import { createPresenceBoard } from './presence-board.ts'

const start = Date.parse('2026-01-01T12:00:00.000Z')
const minutesAgo = (minutes: number) => new Date(start - minutes * 60_000)
const hint = (state: 'online' | 'offline') => ({ state, bootEpoch: 1, at: new Date(start).toISOString() })

test('presence follows the broker while it is connected, and the last signed message otherwise', () => {
  const board = createPresenceBoard(() => new Date(start))
  expect(board.presenceOf('a', null)).toBe('unknown')
  expect(board.presenceOf('a', minutesAgo(1))).toBe('online')
  expect(board.presenceOf('a', minutesAgo(5))).toBe('stale')
  expect(board.presenceOf('a', minutesAgo(60))).toBe('offline')

  board.setBrokerConnected(true)
  board.setHint('a', hint('online'))
  expect(board.isConnected('a')).toBe(true)
  expect(board.presenceOf('a', minutesAgo(2.5))).toBe('online')
  expect(board.presenceOf('a', minutesAgo(5))).toBe('stale')
  board.setHint('a', hint('offline'))
  expect(board.presenceOf('a', minutesAgo(0))).toBe('offline')
  expect(board.isConnected('a')).toBe(false)

  board.setHint('a', hint('online'))
  board.setBrokerConnected(false)
  expect(board.isConnected('a')).toBe(false)
  expect(board.presenceOf('a', minutesAgo(60))).toBe('offline')
})
