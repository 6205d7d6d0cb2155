import { expect, test } from 'vitest'
import { createJobView } from '../live/job-view.fixture.ts'
import { activityByDay, attentionList, openFailures } from './fleet-health.ts'

const now = Date.parse('2026-11-23T12:00:00.000Z')
const hoursAgo = (hours: number) => new Date(now - hours * 3_600_000).toISOString()
const failed = createJobView({ state: 'failed', queuedAt: hoursAgo(3), endedAt: hoursAgo(2) })

test('a failure is open until a later job of the same kind and VM succeeds', () => {
  expect(openFailures([failed], now)).toEqual([failed])
  const success = createJobView({ jobId: '1', state: 'succeeded', queuedAt: hoursAgo(1), endedAt: hoursAgo(0.5) })
  expect(openFailures([success, failed], now)).toEqual([])
  for (const unrelated of [
    { ...success, vmId: 'another' },
    { ...success, kind: 'verify' as const },
    { ...success, queuedAt: hoursAgo(5) },
  ]) {
    expect(openFailures([unrelated, failed], now)).toEqual([failed])
  }
})

test('a failure of more than a day ago is not reported any more', () => {
  expect(openFailures([{ ...failed, endedAt: hoursAgo(25) }], now)).toEqual([])
})

test('an agent that is not online and a repository that is not ready need attention, others do not', () => {
  const agent = {
    agentId: 'a',
    siteId: 's',
    siteName: 'Site',
    customerId: 'c',
    customerName: 'Customer',
    hostname: 'edge-1',
    agentVersion: '1',
    lastSeenAt: hoursAgo(1),
    enrolledAt: hoursAgo(100),
    clockOffsetMs: null,
  }
  const repository = {
    repositoryId: 'r',
    agentId: 'a',
    siteId: 's',
    siteName: 'Site',
    name: 'local',
    kind: 'qcow2-chain' as const,
    location: '/srv',
    capacityBytes: null,
    freeBytes: null,
    checkedAt: hoursAgo(1),
    restorePointCount: 0,
    storedBytes: 0,
  }
  const facts = { jobs: [failed], restorePoints: [] }
  const good = {
    agents: [{ ...agent, presence: 'online' as const }],
    repositories: [{ ...repository, state: 'ready' as const }],
  }
  expect(attentionList({ ...facts, ...good }, now).map((item) => item.key)).toEqual([failed.jobId])
  const bad = {
    agents: [{ ...agent, presence: 'offline' as const }],
    repositories: [{ ...repository, state: 'missing' as const }],
  }
  expect(attentionList({ ...facts, ...bad }, now).map((item) => item.key)).toEqual(['r', 'a', failed.jobId])
})

test('jobs are counted on the day they ended, and days without any are there too', () => {
  const jobs = [
    failed,
    createJobView({ state: 'succeeded', endedAt: hoursAgo(1) }),
    createJobView({ state: 'succeeded', endedAt: hoursAgo(49) }),
    createJobView({ state: 'cancelled', endedAt: hoursAgo(1) }),
    createJobView({ state: 'running' }),
  ]
  const days = activityByDay(jobs, 14, now)
  expect(days).toHaveLength(14)
  expect(days.at(-1)).toMatchObject({ succeeded: 1, failed: 1 })
  expect(days.reduce((sum, day) => sum + day.succeeded, 0)).toBe(2)
  expect(new Set(days.map((day) => day.day)).size).toBe(14)
})
