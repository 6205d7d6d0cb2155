import assert from 'node:assert/strict'
import process from 'node:process'
import { parentPort } from 'node:worker_threads'
import { WorkerRequest } from '../threads/mover-task.ts'
import '../threads/mover-worker.ts'

assert(parentPort, 'dying-worker runs only as a worker thread')

/** For tests: a mover's worker that ends when it is told to pause a copy, as if it had run out of memory. */
parentPort.on('message', (message: unknown) => {
  if (WorkerRequest.parse(message).type === 'pause') process.exit(1)
})
