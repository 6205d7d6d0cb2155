import assert from 'node:assert/strict'
import { parentPort, workerData } from 'node:worker_threads'
import { PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { createThreadEnvironment } from '../copy-environment.ts'
import type { CopyProgress } from '../mover.ts'
import { PauseSwitch } from '../pause-switch.ts'
import { BlockOpeners } from './block-openers.ts'
import { ErrorRoles } from './error-roles.ts'
import { MoverTask, WorkerData, type WorkerReport, WorkerRequest } from './mover-task.ts'
import { runMoverTask } from './run-mover-task.ts'

interface RunningCopy {
  readonly cancel: AbortController
  readonly pause: PauseSwitch
}

assert(parentPort, 'mover-worker runs only as a worker thread')
const control = parentPort
const { memory, openers: openerUrls } = WorkerData.parse(workerData)
const environment = createThreadEnvironment(memory)
const openers = new BlockOpeners(openerUrls)
const copies = new Map<number, RunningCopy>()

control.on('message', (message: unknown) => {
  const request = WorkerRequest.parse(message)
  const { copyId } = request
  const running = copies.get(copyId)
  switch (request.type) {
    case 'copy':
      void copy(copyId, request.task, request.isPaused)
      return
    // What is asked of a copy that is over comes too late to matter.
    case 'cancel':
      running?.cancel.abort(new PlatformError('internal.cancelled', 'the copy was cancelled'))
      return
    case 'pause':
      running?.pause.pause()
      return
    case 'resume':
      running?.pause.resume()
      return
    default:
      request satisfies never
  }
})

/** Ends with exactly one `done` or `failed`. Never rejects. */
async function copy(copyId: number, task: unknown, isPaused: boolean): Promise<void> {
  const running = { cancel: new AbortController(), pause: new PauseSwitch() }
  if (isPaused) running.pause.pause()
  copies.set(copyId, running)
  const report = await endOf(copyId, task, running)
  copies.delete(copyId)
  post(report)
}

async function endOf(copyId: number, task: unknown, { cancel, pause }: RunningCopy): Promise<WorkerReport> {
  const roles = new ErrorRoles()
  try {
    const onProgress = (progress: CopyProgress): void => post({ type: 'progress', copyId, progress })
    const options = { signal: cancel.signal, pause, onProgress, roles, environment, openers }
    return { type: 'done', copyId, progress: await runMoverTask(parseTask(task), options) }
  } catch (error) {
    const { code, message, details } = toPlatformError(error)
    const role = roles.of(error)
    return { type: 'failed', copyId, code, message, details: { ...details }, ...(role === undefined ? {} : { role }) }
  }
}

function parseTask(task: unknown): MoverTask {
  const parsed = MoverTask.safeParse(task)
  if (parsed.success) return parsed.data
  throw new PlatformError('input.invalid', `a copy cannot be done: ${z.prettifyError(parsed.error)}`)
}

function post(report: WorkerReport): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
  control.postMessage(report)
}
