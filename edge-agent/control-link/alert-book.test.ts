import { randomUUID } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { expect, test } from 'vitest'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { AlertBook } from './alert-book.ts'

const signal = AbortSignal.timeout(30_000)

test('what was withheld within a minute is counted in the next alert of its code, and in no other', async () => {
  const catalogue = createMemoryCatalogue()
  let nowMs = Date.parse('2026-05-01T12:00:00.000Z')
  const clock: Clock = { ...systemClock, now: () => new Date(nowMs) }
  const book = new AlertBook({ catalogue, clock, logger: createLogger('test', 'silent'), newId: randomUUID })
  const raise = async (code: 'command.replayed' | 'command.expired') => {
    const error = new PlatformError(code, 'm', { details: { sequence: 7 } })
    await book.raise(error, 'critical', { signal })
  }
  for (let count = 0; count < 6; count += 1) await raise('command.replayed')
  await raise('command.expired')
  nowMs += 60_000
  for (const code of ['command.replayed', 'command.expired'] as const) await raise(code)
  nowMs += 60_000
  await raise('command.replayed')
  const events = await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 100 }), { signal })
  expect(
    events.flatMap(({ event }) => (event.type === 'alert-raised' ? [[event.error.code, event.error.details]] : [])),
  ).toEqual([
    ['command.replayed', { sequence: 7 }],
    ['command.expired', { sequence: 7 }],
    ['command.replayed', { sequence: 7, withheldBefore: 5 }],
    ['command.expired', { sequence: 7 }],
    ['command.replayed', { sequence: 7 }],
  ])
})
