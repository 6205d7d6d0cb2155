import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { CallOptions } from '../block/block-source.ts'

const run = promisify(execFile)
let known: Promise<ReadonlySet<string>> | undefined

/**
 * What `qemu-storage-daemon --object` can make here, asked once; nothing where the program does not say.
 * Rejects with the signal's reason.
 */
export async function daemonObjectTypes({ signal }: CallOptions): Promise<ReadonlySet<string>> {
  known ??= askForObjectTypes()
  const types = await known
  signal.throwIfAborted()
  return types
}

async function askForObjectTypes(): Promise<ReadonlySet<string>> {
  try {
    const { stdout } = await run('qemu-storage-daemon', ['--object', 'help'], { timeout: 10_000 })
    return new Set(stdout.split('\n').map((line) => line.trim()))
  } catch {
    // Who starts a daemon is told why it does not start.
    known = undefined
    return new Set()
  }
}
