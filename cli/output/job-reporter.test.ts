import type { JobDetailView } from '@sendense/shared/contracts/api/protection-api.ts'
import { expect, test } from 'vitest'
import { createJobReporter } from './job-reporter.ts'

const at = '2026-11-23T20:00:00.000Z'
const id = '0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a'

const queued: JobDetailView = {
  jobId: id,
  kind: 'backup',
  state: 'queued',
  commandState: 'published',
  vmId: id,
  vmName: 'web-1',
  agentId: id,
  siteName: 'Main',
  repositoryId: null,
  restorePointId: null,
  requestedBy: 'owner@example.test',
  queuedAt: at,
  startedAt: null,
  endedAt: null,
  progress: null,
  result: null,
  error: null,
  log: [],
}

function copying(doneBytes: number): JobDetailView {
  const progress = {
    jobId: id,
    phase: 'copy',
    sentence: 'Copying disk0',
    doneBytes,
    totalBytes: 100,
    bytesPerSecond: 0,
    at,
  }
  return { ...queued, state: 'running', commandState: 'running', progress }
}

/** What a reporter writes about jobs in that order. */
function written(terminal: { isTTY?: boolean; columns?: number }, jobs: readonly JobDetailView[]): string {
  let text = ''
  const reporter = createJobReporter({ ...terminal, write: (piece) => (text += piece) })
  for (const job of jobs) reporter.show(job)
  reporter.close()
  return text
}

test('elsewhere than on a terminal a line comes where the step changes or another tenth is done', () => {
  expect(written({}, [queued, queued, copying(1), copying(2), copying(9), copying(10), copying(100)])).toBe(
    [
      'queued, not yet taken by the agent',
      'copy: 1 %, 1 B of 100 B: Copying disk0',
      'copy: 10 %, 10 B of 100 B: Copying disk0',
      'copy: 100 %, 100 B of 100 B: Copying disk0',
      '',
    ].join('\n'),
  )
})

test('a terminal has one line that is drawn over and gone at the end', () => {
  const text = written({ isTTY: true, columns: 40 }, [queued, copying(50)])
  expect(text).not.toContain('\n')
  expect(text).toContain('██████████░░░░░░░░░░ 50 %')
  expect(text.endsWith('\r\u001b[2K')).toBe(true)
})

test('a terminal that does not know its width still shows everything', () => {
  expect(written({ isTTY: true, columns: 0 }, [queued])).toContain('queued, not yet taken by the agent')
})
