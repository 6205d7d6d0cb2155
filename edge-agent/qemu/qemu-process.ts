import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../block/block-source.ts'

const START_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 30_000
const KILL_TIMEOUT_MS = 10_000
const POLL_MS = 20

/**
 * Starts QEMU with `-daemonize` and waits until its sockets listen. It belongs to nobody then: it lives on when
 * this process ends. `args` must hold `-pidfile`, and paths must be absolute.
 * Rejects with `qemu.start_failed`, QEMU's words in the text, or the signal's reason.
 */
export async function startDetachedQemu(args: readonly string[], { signal }: CallOptions): Promise<void> {
  signal.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const options = { signal, timeout: START_TIMEOUT_MS, killSignal: 'SIGKILL' } as const
    execFile('qemu-system-x86_64', [...args, '-daemonize'], options, (error, _stdout, stderr) => {
      if (error === null) resolve()
      else if (signal.aborted) reject(signal.reason)
      else reject(startFailed(stderr.trim() === '' ? error.message : stderr, error))
    })
  })
}

/**
 * The process id in a pid file, if that process runs and has `marker` among its arguments. A pid file that outlived
 * its process never names a stranger.
 */
export async function findProcess(pidFile: string, marker: string): Promise<number | undefined> {
  const text = await readOrUndefined(pidFile)
  const pid = Number.parseInt(text ?? '', 10)
  return Number.isSafeInteger(pid) && pid > 0 && (await runsWith(pid, marker)) ? pid : undefined
}

/**
 * Ends a process by SIGTERM, on which QEMU closes its disks and keeps persistent bitmaps; by SIGKILL where that
 * takes more than half a minute. Resolves when it is gone; does nothing when it is gone already.
 */
export async function stopProcess(pid: number, marker: string, options: CallOptions): Promise<void> {
  for (const [signalName, timeoutMs] of [
    ['SIGTERM', STOP_TIMEOUT_MS],
    ['SIGKILL', KILL_TIMEOUT_MS],
  ] as const) {
    if (!(await runsWith(pid, marker))) return
    process.kill(pid, signalName)
    const deadline = Date.now() + timeoutMs
    while (Date.now() < deadline) {
      if (!(await runsWith(pid, marker))) return
      await untilAborted(delay(POLL_MS), options.signal)
    }
  }
  throw new PlatformError('qemu.timeout', `process ${pid} did not end`)
}

/** proc(5), "cmdline": arguments separated by zero bytes; empty for a process that has ended and was not waited for. */
async function runsWith(pid: number, marker: string): Promise<boolean> {
  const commandLine = await readOrUndefined(`/proc/${pid}/cmdline`)
  return commandLine?.split('\0').includes(marker) ?? false
}

async function readOrUndefined(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return undefined
  }
}

function startFailed(text: string, cause: unknown): PlatformError {
  return new PlatformError('qemu.start_failed', `QEMU did not start: ${text.trim().slice(0, 1000)}`, { cause })
}
