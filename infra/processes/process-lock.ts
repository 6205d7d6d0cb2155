import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import * as z from 'zod'
import { findProcess, isAlive, type ProcessIdentity } from './process-identity.ts'

const Holder = z.strictObject({ pid: z.int().positive(), startTicks: z.string() })
const ATTEMPTS_MAX = 5

/** A lock that is held until it is disposed, or the process that holds it now. */
export type LockAttempt =
  | { readonly lock: AsyncDisposable; readonly holder?: never }
  | { readonly lock?: never; readonly holder: ProcessIdentity }

/** Takes a lock between processes without waiting. One whose process is gone is taken over. */
export async function tryLock(file: string): Promise<LockAttempt> {
  const self = findProcess(process.pid)
  if (self === undefined) throw new TypeError('this process has a /proc entry')
  const mine = `${file}.${self.pid}`
  await writeFile(mine, JSON.stringify(self))
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const taken = await link(mine, file).then(
        () => false, // atomic: of two takers one gets EEXIST
        () => true,
      )
      if (!taken) return { lock: { [Symbol.asyncDispose]: async () => await rm(file, { force: true }) } }
      const holder = await readHolder(file)
      if (holder !== undefined && isAlive(holder)) return { holder }
      await rm(file, { force: true })
    }
  } finally {
    await rm(mine, { force: true })
  }
  throw new PlatformError('stack.already_running', `others keep taking the lock ${file}`)
}

async function readHolder(file: string): Promise<ProcessIdentity | undefined> {
  try {
    return Holder.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch {
    return undefined // released this instant
  }
}
