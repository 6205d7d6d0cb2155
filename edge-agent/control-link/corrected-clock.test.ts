import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { expect, test } from 'vitest'
import { CorrectedClock } from './corrected-clock.ts'

const MINUTE_MS = 60_000

function createClocks() {
  let nowMs = Date.parse('2026-01-01T00:00:00.000Z')
  const local: Clock = { ...systemClock, now: () => new Date(nowMs) }
  const corrected = new CorrectedClock(local)
  const answer = (aheadMs: number, tripMs = 100) => {
    const requestClock = corrected.beginRequest()
    nowMs += tripMs
    const serverTime = new Date(nowMs - tripMs / 2 + aheadMs).toISOString()
    return { given: { requestClock, serverTime }, believed: corrected.endRequest({ requestClock, serverTime }) }
  }
  return { corrected, answer, pass: (milliseconds: number) => (nowMs += milliseconds) }
}

test('follows the cloud by the middle of the round trip', () => {
  const { corrected, answer } = createClocks()
  expect(corrected.offsetMs).toBe(0)
  answer(10 * MINUTE_MS)
  expect(corrected.offsetMs).toBe(10 * MINUTE_MS)
})

test('one wild answer among five moves nothing', () => {
  const { corrected, answer, pass } = createClocks()
  for (const aheadMs of [1000, 1000, 900 * MINUTE_MS, 1000, 1000]) {
    answer(aheadMs)
    pass(1000)
  }
  expect(corrected.offsetMs).toBe(1000)
})

test('an answer counts once, and only to a request of ours', () => {
  const { corrected, answer, pass } = createClocks()
  const { given, believed } = answer(0)
  expect(believed).toBe(true)
  pass(60 * MINUTE_MS)
  expect(corrected.endRequest(given)).toBe(false)
  expect(
    corrected.endRequest({ requestClock: '2020-01-01T00:00:00.000Z', serverTime: '2020-01-01T00:00:00.000Z' }),
  ).toBe(false)
  expect(corrected.offsetMs).toBe(0)
})
