import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { tryLock } from '../processes/process-lock.ts'

/**
 * At most one stack runs on a state directory. A lock whose process is gone is taken over.
 * Rejects with `stack.already_running` that names the process.
 */
export async function lockState(stateDir: string): Promise<AsyncDisposable> {
  const { lock, holder } = await tryLock(path.join(stateDir, 'lock.json'))
  if (lock !== undefined) return lock
  throw new PlatformError('stack.already_running', `a stack on ${stateDir} runs already as process ${holder.pid}`)
}
