import type { JobView, LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { jobStates } from '@sendense/shared/domain/job-state.ts'
import { QueryClient } from '@tanstack/react-query'
import { describe, expect, test } from 'vitest'
import { applyLiveEvent, withProgress, withState, type LiveCacheKeys } from './apply-live-event.ts'
import { createJobView, createProgress } from './job-view.fixture.ts'

const keys: LiveCacheKeys = {
  jobLists: [['job', 'list']],
  jobDetails: [['job', 'get']],
  vms: [['vm']],
  restorePoints: [['restorePoint']],
  repositories: [['repository']],
  sites: [['site']],
  agents: [['agent']],
  alerts: [['alert']],
}
const activeList = [['job', 'list'], { input: { state: ['running'] }, type: 'query' }]
const wholeList = [['job', 'list'], { input: { limit: 50 }, type: 'query' }]
const detail = (jobId: string) => [['job', 'get'], { input: { jobId }, type: 'query' }]
const other = createJobView({ jobId: '99999999-9999-4999-8999-999999999999', state: 'running' })
const { jobId, vmId } = createJobView()

function cacheWith(job: JobView): QueryClient {
  const queryClient = new QueryClient()
  queryClient.setQueryData(activeList, [job, other])
  queryClient.setQueryData(wholeList, [other, job])
  queryClient.setQueryData(detail(job.jobId), { ...job, log: [] })
  queryClient.setQueryData(detail(other.jobId), { ...other, log: [] })
  return queryClient
}

describe('job-progress', () => {
  test('reaches every list and the detail that hold the job, and no other job', () => {
    const queryClient = cacheWith(createJobView({ state: 'running' }))
    const progress = createProgress()
    expect(applyLiveEvent({ type: 'job-progress', progress }, queryClient, keys)).toEqual([])
    for (const key of [activeList, wholeList]) {
      const jobs = queryClient.getQueryData<JobView[]>(key)
      expect(jobs?.find((job) => job.jobId === jobId)?.progress).toEqual(progress)
      expect(jobs?.find((job) => job.jobId === other.jobId)).toBe(other)
    }
    expect(queryClient.getQueryData<JobView>(detail(jobId))?.progress).toEqual(progress)
    expect(queryClient.getQueryData<JobView>(detail(other.jobId))?.progress).toBeNull()
  })

  test('does not replace a newer progress', () => {
    const newer = createProgress({ at: '2026-11-23T10:00:09.000Z', doneBytes: 90 })
    const job = createJobView({ state: 'running', progress: newer })
    expect(withProgress(job, createProgress()).progress).toBe(newer)
  })

  test('shows a queued job as running, and leaves an ended one as it ended', () => {
    expect(withProgress(createJobView(), createProgress()).state).toBe('running')
    for (const state of ['succeeded', 'failed', 'cancelled'] as const) {
      const ended = createJobView({ state })
      expect(withProgress(ended, createProgress())).toBe(ended)
    }
  })

  test('of a job nobody has read leaves the lists untouched', () => {
    const queryClient = cacheWith(createJobView())
    const before = queryClient.getQueryData(wholeList)
    const progress = createProgress({ jobId: '77777777-7777-4777-8777-777777777777' })
    applyLiveEvent({ type: 'job-progress', progress }, queryClient, keys)
    expect(queryClient.getQueryData(wholeList)).toBe(before)
  })
})

describe('job-changed', () => {
  test('patches the state at once and asks for lists, detail and VMs again', () => {
    const queryClient = cacheWith(createJobView({ state: 'running' }))
    const stale = applyLiveEvent({ type: 'job-changed', jobId, vmId, state: 'succeeded' }, queryClient, keys)
    expect(queryClient.getQueryData<JobView>(detail(jobId))?.state).toBe('succeeded')
    expect(stale).toEqual([keys.jobLists, keys.jobDetails, keys.vms])
  })

  test('an ended job stays ended, whatever arrives late', () => {
    for (const late of jobStates) {
      const ended = createJobView({ state: 'failed' })
      expect(withState(ended, late)).toBe(ended)
    }
  })
})

const rereads: readonly (readonly [LiveEvent, readonly (keyof LiveCacheKeys)[]])[] = [
  [{ type: 'restore-point-added', restorePointId: jobId, vmId }, ['restorePoints', 'vms', 'repositories']],
  [{ type: 'restore-point-changed', restorePointId: jobId, vmId }, ['restorePoints']],
  [{ type: 'inventory-changed', agentId: jobId }, ['vms', 'repositories', 'sites']],
  [{ type: 'agent-changed', agentId: jobId }, ['agents', 'sites']],
  [{ type: 'alert-raised', alertId: jobId, agentId: jobId, severity: 'critical' }, ['alerts']],
  [{ type: 'alert-acknowledged', alertId: jobId, agentId: jobId }, ['alerts']],
  [
    { type: 'stream-reset' },
    ['jobLists', 'jobDetails', 'vms', 'restorePoints', 'repositories', 'sites', 'agents', 'alerts'],
  ],
]

test.each(rereads)('%o asks for what it changed again', (event, names) => {
  expect(applyLiveEvent(event, new QueryClient(), keys)).toEqual(names.map((name) => keys[name]))
})
