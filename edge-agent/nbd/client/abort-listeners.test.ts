import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { AbortListeners } from './abort-listeners.ts'

test('all that still wait for a signal are told of its abort, once, in the order they came, and of no other', () => {
  const told: string[] = []
  const listeners = new AbortListeners<string>((item) => void told.push(item))
  const [one, other] = [new AbortController(), new AbortController()]
  for (const item of ['a', 'b', 'c']) listeners.add(one.signal, item)
  listeners.add(other.signal, 'd')
  listeners.delete(one.signal, 'b')
  listeners.delete(other.signal, 'a')
  one.abort()
  one.abort()
  expect(told).toEqual(['a', 'c'])
  listeners.delete(one.signal, 'a')
})

test('an item that is deleted while others are told is not told any more', () => {
  const told: string[] = []
  const listeners = new AbortListeners<string>((item) => {
    told.push(item)
    listeners.delete(control.signal, 'b')
  })
  const control = new AbortController()
  for (const item of ['a', 'b', 'c']) listeners.add(control.signal, item)
  control.abort()
  expect(told).toEqual(['a', 'c'])
})

test('a signal has one listener while anybody waits for it, and none afterwards', () => {
  const listeners = new AbortListeners<string>(() => undefined)
  const { signal } = new AbortController()
  for (const item of ['a', 'b']) listeners.add(signal, item)
  expect(getEventListeners(signal, 'abort')).toHaveLength(1)
  for (const item of ['a', 'b']) listeners.delete(signal, item)
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)
})
