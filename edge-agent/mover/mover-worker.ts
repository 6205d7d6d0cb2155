import assert from 'node:assert/strict'
import { parentPort } from 'node:worker_threads'
import { PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { ErrorRoles } from './error-roles.ts'
import { WorkerRequest, type WorkerReport } from './mover-task.ts'
import { runMoverTask } from './run-mover-task.ts'

assert(parentPort, 'mover-worker runs only as a worker thread')
const control = parentPort
let cancel: AbortController | undefined

control.on('message', (message: unknown) => {
  const request = WorkerRequest.parse(message)
  if (request.type === 'cancel') {
    cancel?.abort(new PlatformError('internal.cancelled', 'the copy was cancelled'))
    return
  }
  assert(cancel === undefined, 'a worker copies one disk at a time')
  cancel = new AbortController()
  void copy(request.task, cancel.signal)
})

/** Ends with exactly one `done` or `failed`. Never rejects. */
async function copy(task: Extract<WorkerRequest, { type: 'copy' }>['task'], signal: AbortSignal): Promise<void> {
  const roles = new ErrorRoles()
  const report = await endOf(task, roles, signal)
  cancel = undefined
  post(report)
}

async function endOf(
  task: Extract<WorkerRequest, { type: 'copy' }>['task'],
  roles: ErrorRoles,
  signal: AbortSignal,
): Promise<WorkerReport> {
  try {
    const onProgress = (progress: Extract<WorkerReport, { type: 'progress' }>['progress']): void => {
      post({ type: 'progress', progress })
    }
    return { type: 'done', progress: await runMoverTask(task, { signal, onProgress, roles }) }
  } catch (error) {
    const { code, message, details } = toPlatformError(error)
    const role = roles.of(error)
    return { type: 'failed', code, message, details: { ...details }, ...(role === undefined ? {} : { role }) }
  }
}

function post(report: WorkerReport): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
  control.postMessage(report)
}
