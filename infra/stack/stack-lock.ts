import { link, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import * as z from 'zod'
import { findProcess, isAlive } from '../processes/process-identity.ts'

const Holder = z.strictObject({ pid: z.int().positive(), startTicks: z.string() })
const ATTEMPTS_MAX = 5

/**
 * At most one stack runs on a state directory. A lock whose process is gone is taken over.
 * Rejects with `stack.already_running` that names the process.
 */
export async function lockState(stateDir: string): Promise<AsyncDisposable> {
  const file = path.join(stateDir, 'lock.json')
  const self = findProcess(process.pid)
  if (self === undefined) throw new TypeError('this process has a /proc entry')
  const mine = `${file}.${self.pid}`
  await writeFile(mine, JSON.stringify(self))
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const taken = await link(mine, file).then(
        () => false, // atomic: of two starters one gets EEXIST
        () => true,
      )
      if (!taken) return { [Symbol.asyncDispose]: async () => await rm(file, { force: true }) }
      const holder = Holder.safeParse(JSON.parse(await readFile(file, 'utf8').catch(() => 'null')))
      if (holder.success && isAlive(holder.data)) {
        throw new PlatformError(
          'stack.already_running',
          `a stack on ${stateDir} runs already as process ${holder.data.pid}`,
        )
      }
      await rm(file, { force: true })
    }
  } finally {
    await rm(mine, { force: true })
  }
  throw new PlatformError('stack.already_running', `others keep taking the lock of ${stateDir}`)
}
