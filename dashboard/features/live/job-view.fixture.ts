import type { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import type { JobProgress } from '@sendense/shared/contracts/job.ts'

/** A queued backup for tests; `fields` replace what matters to one. */
export function createJobView(fields: Partial<JobView> = {}): JobView {
  return {
    jobId: '11111111-1111-4111-8111-111111111111',
    kind: 'backup',
    state: 'queued',
    commandState: 'published',
    vmId: '22222222-2222-4222-8222-222222222222',
    vmName: 'demo-vm',
    agentId: '33333333-3333-4333-8333-333333333333',
    siteName: 'Demo site',
    repositoryId: null,
    restorePointId: null,
    requestedBy: 'owner@example.com',
    queuedAt: '2026-11-23T10:00:00.000Z',
    startedAt: null,
    endedAt: null,
    progress: null,
    result: null,
    error: null,
    ...fields,
  }
}

/** Progress of that backup. */
export function createProgress(fields: Partial<JobProgress> = {}): JobProgress {
  return {
    jobId: '11111111-1111-4111-8111-111111111111',
    phase: 'copy',
    sentence: 'Copying disk0.',
    doneBytes: 10,
    totalBytes: 100,
    bytesPerSecond: 5,
    at: '2026-11-23T10:00:05.000Z',
    ...fields,
  }
}
