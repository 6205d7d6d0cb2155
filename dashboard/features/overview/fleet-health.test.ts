import { errorCodes } from '@sendense/shared/errors/error-codes.ts'
import { expect, test } from 'vitest'
import { createAlertView } from '../alert/alert.fixture.ts'
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
  const facts = { jobs: [failed], restorePoints: [], openAlerts: [], openAlertCount: 0 }
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

test('open alerts come first, one item a kind and agent, with place, count, advice and the way to them', () => {
  const nothing = { agents: [], repositories: [], jobs: [], restorePoints: [] }
  const replays = ['1', '2', '3'].map((alertId, index) => createAlertView({ alertId, raisedAt: hoursAgo(index) }))
  const vm = { vmId: 'v', name: 'web-1' }
  const info = createAlertView({ alertId: '4', severity: 'info', vm, raisedAt: hoursAgo(5) })
  const items = attentionList({ ...nothing, jobs: [failed], openAlerts: [info, ...replays], openAlertCount: 4 }, now)
  expect(items.map((item) => item.key)).toEqual(['1', '4', failed.jobId])
  expect(items[0]).toEqual({
    key: '1',
    tone: 'danger',
    badge: 'Critical',
    title: 'An old command that was sent again was refused',
    note: 'Agent edge-1 · Demo site · 3 times',
    advice: errorCodes['command.replayed'].advice,
    href: `/alerts?severity=critical&place=${encodeURIComponent(`agent:${info.agentId}`)}`,
    at: hoursAgo(0),
  })
  expect(items[1]).toMatchObject({ tone: 'neutral', badge: 'Info', note: 'Agent edge-1 · Demo site · VM web-1' })
})

test('however many alerts are open, they leave room for everything else and what is not told is counted', () => {
  const alerts = Array.from({ length: 9 }, (_, index) => createAlertView({ alertId: `${index}`, agentId: `a${index}` }))
  const facts = { agents: [], repositories: [], restorePoints: [], jobs: [failed] }
  const items = attentionList({ ...facts, openAlerts: alerts, openAlertCount: 1200 }, now)
  expect(items).toHaveLength(6)
  expect(items[4]).toMatchObject({ title: '1196 more open alerts', href: '/alerts' })
  expect(items[5]?.key).toBe(failed.jobId)
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
