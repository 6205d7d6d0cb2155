import { describe, expect, test } from 'vitest'
import { readConfig } from './config.ts'

const needed = {
  SENDENSE_EDGE_STATE_DIR: '/s',
  SENDENSE_EDGE_DATABASE_SOCKET: '/d',
  SENDENSE_EDGE_REPOSITORY_DIR: '/r',
}

function rateOf(text: string) {
  return readConfig({ ...needed, SENDENSE_EDGE_REPOSITORY_RATE: text }).repository?.rate
}

describe('the settings of the mover', () => {
  test('a rate is a size for always, or a schedule', () => {
    expect(readConfig(needed).repository).toEqual({ dir: '/r', name: 'local repository', encryption: 'none' })
    expect(rateOf('50M')).toEqual({ zone: 'UTC', windows: [], otherwiseBytesPerSecond: 50 * 1024 * 1024 })
    const schedule = {
      zone: 'Europe/Berlin',
      windows: [{ days: ['mon', 'fri'], from: '08:00', to: '18:00', bytesPerSecond: 1_000_000 }],
    }
    expect(rateOf(JSON.stringify(schedule))).toEqual(schedule)
  })

  test.each([
    'fast',
    '0',
    '{}',
    '{"zone":"Mars/Olympus","windows":[]}',
    '{"zone":"UTC","windows":[{"days":[],"from":"08:00","to":"09:00","bytesPerSecond":1}]}',
    '{"zone":"UTC","windows":[{"days":["mon"],"from":"24:00","to":"09:00","bytesPerSecond":1}]}',
    '{"zone":"UTC","windows":[{"days":["mon"],"from":"08:00","to":"9:00","bytesPerSecond":1}]}',
  ])('a rate that is none is refused by name: %s', (text) => {
    expect(() => rateOf(text)).toThrow(/^settings are missing or wrong: SENDENSE_EDGE_REPOSITORY_RATE: neither a size/)
  })

  test('when guests are spared has defaults and bounds', () => {
    const usual = { latencyFloorMs: 30, baselineFactor: 3, rateFloorBytesPerSecond: 4 * 1024 ** 2, hangLimitMs: 15_000 }
    expect(readConfig(needed).sparing).toEqual(usual)
    const own = {
      SENDENSE_EDGE_GUEST_LATENCY_MS: '12.5',
      SENDENSE_EDGE_GUEST_LATENCY_FACTOR: '2',
      SENDENSE_EDGE_GUEST_RATE_MIN: '1M',
      SENDENSE_EDGE_GUEST_HANG_MS: '5000',
    }
    expect(readConfig({ ...needed, ...own }).sparing).toEqual({
      latencyFloorMs: 12.5,
      baselineFactor: 2,
      rateFloorBytesPerSecond: 1024 ** 2,
      hangLimitMs: 5000,
    })
    for (const [name, text] of [
      ['SENDENSE_EDGE_GUEST_LATENCY_MS', '0'],
      ['SENDENSE_EDGE_GUEST_LATENCY_FACTOR', 'much'],
      ['SENDENSE_EDGE_GUEST_RATE_MIN', '0'],
      ['SENDENSE_EDGE_GUEST_HANG_MS', '1000'],
    ] as const) {
      expect(() => readConfig({ ...needed, [name]: text })).toThrow(`settings are missing or wrong: ${name}`)
    }
  })

  test('memory and threads have bounds', () => {
    expect(readConfig(needed).mover).toEqual({ memoryBytes: 1024 ** 3 })
    const small = { ...needed, SENDENSE_EDGE_MOVER_MEMORY_BYTES: '67108864', SENDENSE_EDGE_MOVER_THREADS: '2' }
    expect(readConfig(small).mover).toEqual({ memoryBytes: 64 * 1024 ** 2, threadsMax: 2 })
    expect(() => readConfig({ ...needed, SENDENSE_EDGE_MOVER_MEMORY_BYTES: '1000' })).toThrow('MOVER_MEMORY_BYTES')
  })
})
