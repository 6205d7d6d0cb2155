import { setTimeout as delay } from 'node:timers/promises'
import { QgaClient } from '@sendense/edge-agent/qemu/qga-client.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'

const COMMAND_TIMEOUT_MS = 90_000
const CONNECT_ATTEMPTS = 20

/**
 * Runs shell commands inside a guest, through its guest agent. The agent's socket serves one client at a time and the
 * product uses it too, so each command has a connection of its own.
 */
export class GuestShell {
  readonly #socket: string

  constructor(guestAgentSocket: string) {
    this.#socket = guestAgentSocket
  }

  /** Returns stdout without its last line end. Rejects with `qemu.command_failed` when the exit code is not 0. */
  async run(script: string): Promise<string> {
    const signal = AbortSignal.timeout(COMMAND_TIMEOUT_MS)
    await using client = await this.#connect(signal)
    const options = { signal, timeoutMs: 30_000 }
    const result = await client.run('/bin/sh', ['-ec', `export PATH=/bin:/usr/bin:/usr/sbin\n${script}`], options)
    if (result.exitCode !== 0) {
      const said = `${result.stdout}${result.stderr}`.trim()
      throw new PlatformError('qemu.command_failed', `in the guest, exit code ${result.exitCode}: ${script}: ${said}`)
    }
    return result.stdout.replace(/\n$/, '')
  }

  /** Starts a script that goes on by itself; it ends with the guest. */
  async start(script: string): Promise<void> {
    await this.run(`(${script}) </dev/null >/dev/null 2>&1 &`)
  }

  /** Lets the demo's workload rest; resolves once it has written its last. */
  async restWorkload(): Promise<void> {
    await this.run('touch /run/workload-stop')
    await waitUntil('the workload to rest', async () => (await this.run('ls /run')).includes('workload-stopped'), {
      signal: AbortSignal.timeout(COMMAND_TIMEOUT_MS),
      timeoutMs: COMMAND_TIMEOUT_MS,
    })
  }

  async resumeWorkload(): Promise<void> {
    await this.run('rm -f /run/workload-stop')
  }

  /**
   * Brings both disks to rest: the root file system is read-only, everything written is on the disks, and nothing
   * changes them until `writable`. What is on the disks then is what a backup of this instant must hold.
   */
  async readOnly(): Promise<void> {
    await this.run('sync; mount -o remount,ro /; dd if=/dev/zero of=/dev/vdb count=0 conv=notrunc,fsync; sync')
  }

  async writable(): Promise<void> {
    await this.run('mount -o remount,rw /')
  }

  /** MD5 of files or devices as the guest reads them from its disks, not from its memory. */
  async checksum(paths: string): Promise<string> {
    return await this.run(
      `echo 3 >/proc/sys/vm/drop_caches; find ${paths} -xdev \\( -type f -o -type b \\) | sort | xargs md5sum`,
    )
  }

  async #connect(signal: AbortSignal): Promise<QgaClient> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await QgaClient.connect(this.#socket, { signal, timeoutMs: 15_000 })
      } catch (error) {
        // While the product holds the socket, or between two of its connections, the agent answers nobody else.
        if (attempt === CONNECT_ATTEMPTS || !isPlatformError(error)) throw error
        await delay(250, undefined, { signal })
      }
    }
  }
}
