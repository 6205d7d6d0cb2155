import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decideRetention, type RetentionPoint, type RetentionPolicy, retentionRules } from './retention.ts'

const NOW = new Date('2026-11-25T12:00:00Z')
const nothing: RetentionPolicy = { zone: 'UTC', last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 }

function kept(takenAt: readonly string[], policy: Partial<RetentionPolicy>): string[] {
  const points = takenAt.map((text) => ({ restorePointId: text, takenAt: new Date(text), verified: false }))
  const decisions = decideRetention(points, { ...nothing, ...policy }, NOW)
  return decisions.filter(({ keep }) => keep).map(({ point }) => point.restorePointId)
}

describe('rules', () => {
  test('the last so many points stay', () => {
    const days = ['2026-11-01T00:00Z', '2026-11-02T00:00Z', '2026-11-03T00:00Z']
    expect(kept(days, { last: 2 })).toEqual(['2026-11-03T00:00Z', '2026-11-02T00:00Z'])
  })

  test('of each period the newest stays, and periods without points do not count', () => {
    const points = ['2026-01-31T10:00Z', '2026-01-31T23:00Z', '2026-03-01T10:00Z', '2026-11-01T10:00Z']
    expect(kept(points, { monthly: 3 })).toEqual(['2026-11-01T10:00Z', '2026-03-01T10:00Z', '2026-01-31T23:00Z'])
    expect(kept(points, { yearly: 5 })).toEqual(['2026-11-01T10:00Z'])
  })

  test('weeks are those of ISO 8601, over the turn of the year', () => {
    const points = ['2025-12-28T10:00Z', '2025-12-29T10:00Z', '2026-01-04T10:00Z', '2026-01-05T10:00Z']
    expect(kept(points, { weekly: 3 })).toEqual(['2026-01-05T10:00Z', '2026-01-04T10:00Z', '2025-12-28T10:00Z'])
    const names = ['2021-01-03', '2024-12-30', '2026-12-31', '2027-01-01'].map((date) => {
      const point = { restorePointId: 'a', takenAt: new Date(date), verified: false }
      return decideRetention([point], { ...nothing, weekly: 1 }, NOW)[0]?.reasons[1]
    })
    expect(names).toEqual(
      ['2020-W53', '2025-W01', '2026-W53', '2026-W53'].map((period) => ({ code: 'weekly', period })),
    )
  })

  test('days are those of the site’s zone', () => {
    const points = ['2026-06-01T21:30Z', '2026-06-01T22:30Z']
    expect(kept(points, { zone: 'UTC', daily: 2 })).toEqual(['2026-06-01T22:30Z'])
    expect(kept(points, { zone: 'Europe/Berlin', daily: 2 })).toEqual(['2026-06-01T22:30Z', '2026-06-01T21:30Z'])
  })

  test('the hour that clocks go through twice in autumn is two, the one they skip in spring is none', () => {
    const autumn = ['2026-10-25T00:30Z', '2026-10-25T00:59Z', '2026-10-25T01:30Z', '2026-10-25T02:30Z']
    const each = ['2026-10-25T02:30Z', '2026-10-25T01:30Z', '2026-10-25T00:59Z']
    expect(kept(autumn, { zone: 'Europe/Berlin', hourly: 9 })).toEqual(each)
    expect(kept(autumn, { zone: 'Europe/Berlin', daily: 9 })).toEqual(['2026-10-25T02:30Z'])
    const spring = ['2026-03-29T00:30Z', '2026-03-29T01:30Z']
    expect(kept(spring, { zone: 'Europe/Berlin', hourly: 9 })).toHaveLength(2)
  })

  test('the days that clocks are set are one day each, of 25 and of 23 hours', () => {
    for (const [first, last] of [
      ['2026-10-24T22:00Z', '2026-10-25T22:59Z'],
      ['2026-03-28T23:00Z', '2026-03-29T21:59Z'],
    ] as const) {
      expect(kept([first, last], { zone: 'Europe/Berlin', daily: 2 })).toEqual([last])
      const outside = [new Date(Date.parse(first) - 60_000), new Date(Date.parse(last) + 60_000)]
      const all = [first, last, ...outside.map((date) => date.toISOString())]
      expect(kept(all, { zone: 'Europe/Berlin', daily: 9 })).toHaveLength(3)
    }
  })
})

test('held and locked points stay, and say why and until when; a lock that is over keeps nothing', () => {
  const until = new Date('2026-12-01T00:00Z')
  const points = [
    november('4', {}),
    november('3', { hold: 'case 17' }),
    november('2', { lockedUntil: until }),
    november('1', { lockedUntil: NOW }),
  ]
  expect(decideRetention(points, nothing, NOW).map(({ keep, reasons }) => ({ keep, reasons }))).toEqual([
    { keep: true, reasons: [{ code: 'newest' }] },
    { keep: true, reasons: [{ code: 'held', why: 'case 17' }] },
    { keep: true, reasons: [{ code: 'locked', until }] },
    { keep: false, reasons: [] },
  ])
})

describe('whatever the points and the policy', () => {
  test('the newest point, the newest verified one, held and locked ones stay', () => {
    check((points, policy) => {
      const decisions = decideRetention(points, policy, NOW)
      expect(decisions.length).toBe(points.length)
      expect(decisions[0]?.keep ?? true).toBe(true)
      expect(decisions.find(({ point }) => point.verified)?.keep ?? true).toBe(true)
      for (const { point, keep, reasons } of decisions) {
        expect(keep).toBe(reasons.length > 0)
        const mustStay = point.hold !== undefined || (point.lockedUntil ?? NOW) > NOW
        expect(keep || !mustStay).toBe(true)
      }
    })
  })

  test('a greater count never deletes more', () => {
    check((points, policy, rule, more) => {
      const before = deletedBy(points, policy)
      const after = deletedBy(points, { ...policy, [rule]: policy[rule] + more })
      expect([...after].filter((id) => !before.has(id))).toEqual([])
    })
  })

  test('once what it says is deleted, it says nothing new', () => {
    check((points, policy) => {
      const gone = deletedBy(points, policy)
      const left = points.filter(({ restorePointId }) => !gone.has(restorePointId))
      expect(deletedBy(left, policy)).toEqual(new Set())
    })
  })

  test('what is to be deleted stays so when points are added later', () => {
    check((points, policy, _rule, more) => {
      const newest = Math.max(...points.map(({ takenAt }) => takenAt.getTime()))
      const later = Array.from({ length: more }, (_, index) => ({
        restorePointId: `later-${index}`,
        takenAt: new Date(newest + (index + 1) * 3_000_000),
        verified: index % 2 === 0,
      }))
      const before = deletedBy(points, policy)
      const after = deletedBy([...points, ...later], policy)
      expect([...before].filter((id) => !after.has(id))).toEqual([])
    })
  })

  test('the order in which points are listed does not matter', () => {
    check((points, policy) => {
      expect(decideRetention(points.toReversed(), policy, NOW)).toEqual(decideRetention(points, policy, NOW))
    })
  })
})

function november(day: string, more: Partial<RetentionPoint>): RetentionPoint {
  return { restorePointId: day, takenAt: new Date(`2026-11-0${day}T00:00Z`), verified: false, ...more }
}

function deletedBy(points: readonly RetentionPoint[], policy: RetentionPolicy): Set<string> {
  const decisions = decideRetention(points, policy, NOW)
  return new Set(decisions.flatMap(({ point, keep }) => (keep ? [] : [point.restorePointId])))
}

function check(
  property: (
    points: readonly RetentionPoint[],
    policy: RetentionPolicy,
    rule: (typeof retentionRules)[number],
    more: number,
  ) => void,
): void {
  const minutes = fc.oneof(fc.nat(3000), fc.nat(2_000_000))
  const point = fc.record({
    restorePointId: fc.uuid(),
    takenAt: minutes.map((count) => new Date(NOW.getTime() - count * 60_000)),
    verified: fc.boolean(),
    hold: fc.option(fc.constant('case'), { nil: undefined, freq: 8 }),
    lockedUntil: fc.option(
      fc.integer({ min: -5, max: 5 }).map((days) => new Date(NOW.getTime() + days * 86_400_000)),
      { nil: undefined, freq: 8 },
    ),
  })
  const counts = Object.fromEntries(retentionRules.map((rule) => [rule, fc.nat(5)] as const))
  const policy = fc
    .record({ ...counts, zone: fc.constantFrom('UTC', 'Europe/Berlin', 'Australia/Lord_Howe', 'America/St_Johns') })
    .map((made) => ({ ...nothing, ...made }))
  const points = fc.uniqueArray(point, { minLength: 1, maxLength: 20, selector: (each) => each.restorePointId })
  fc.assert(fc.property(points, policy, fc.constantFrom(...retentionRules), fc.integer({ min: 1, max: 4 }), property), {
    numRuns: 60,
  })
}
