import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdEndpoint } from '../block/block-endpoint.ts'
import type { CallOptions } from '../block/block-source.ts'
import { daemonObjectTypes } from './daemon-object-types.ts'
import { handSecret, type QemuSecret } from './qemu-secret.ts'

/**
 * QEMU's server allocates a buffer for each request; glibc would give one of a MiB back to the system each time and take
 * new pages for the next, which costs as much as the copy itself (mallopt(3); docs/decisions/0010).
 */
const KEEP_BUFFERS = {
  MALLOC_MMAP_THRESHOLD_: String(32 * 1024 * 1024),
  MALLOC_TRIM_THRESHOLD_: String(128 * 1024 * 1024),
}
const START_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 60_000
const POLL_MS = 5
const STDERR_TAIL_BYTES = 8192
/** sun_path of unix(7) is 108 bytes with its terminating zero. */
const SOCKET_PATH_MAX_BYTES = 107

/** A node of QEMU's block graph as `blockdev-add` takes it (QEMU QMP Reference, "BlockdevOptions"). */
export type BlockNode = Readonly<Record<string, unknown>> & { readonly 'driver': string; readonly 'node-name': string }

export interface StorageExport {
  /** Name of the NBD export; at most one of a name. */
  readonly name: string
  readonly nodeName: string
  readonly writable: boolean
  /** Dirty bitmaps of that node to offer as meta contexts `qemu:dirty-bitmap:NAME`. */
  readonly bitmaps?: readonly string[]
  /**
   * Offers `qemu:allocation-depth` (QEMU docs/interop/nbd.txt): whether the node holds a range itself. For a node without
   * backing, where the depth is 0 or 1.
   */
  readonly allocationDepth?: boolean
}

export interface StorageDaemonOptions {
  /** Where its socket goes; made when missing. Short: a unix socket's path has at most 107 bytes. */
  readonly runtimeDir: string
  /** In an order in which each node comes after those it refers to. */
  readonly nodes: readonly BlockNode[]
  readonly exports: readonly StorageExport[]
  /**
   * Threads that read and write images at most, where QEMU can be told so (7.1 or newer). Writers of one file only wait for
   * each other (docs/decisions/0010). Default: QEMU's, 64.
   */
  readonly ioThreadsMax?: number
  /** What encrypted nodes call by its id. */
  readonly secret?: QemuSecret | undefined
}

/**
 * One `qemu-storage-daemon` that serves images over NBD on a unix socket. It dies with this process, kill -9
 * included. Disposing kills it: right for images that are only read or not wanted any more; others take `stop`.
 */
export interface StorageDaemon extends AsyncDisposable {
  readonly pid: number
  /** Aborts when the process ended without being asked; the reason is `qemu.disconnected`. */
  readonly lost: AbortSignal
  /** Address of an export; `dirtyContext` is set where exactly one bitmap, or the allocation depth, was asked for. */
  endpoint(exportName: string): NbdEndpoint
  /**
   * Closes all images cleanly and waits until the process is gone.
   * Rejects with `qemu.disconnected` where it died before or did not end well.
   */
  stop(options: CallOptions): Promise<void>
}

/**
 * Starts a daemon and waits until it answers.
 * Rejects with `qemu.start_failed`, its message in the text, or the signal's reason; then no process is left.
 */
export async function startStorageDaemon(options: StorageDaemonOptions, call: CallOptions): Promise<StorageDaemon> {
  call.signal.throwIfAborted()
  await mkdir(options.runtimeDir, { recursive: true, mode: 0o700 })
  const socketPath = join(options.runtimeDir, `sd-${randomBytes(6).toString('hex')}.sock`)
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_MAX_BYTES) {
    throw new PlatformError('config.invalid', `the socket path ${socketPath} is longer than 107 bytes`)
  }
  const objects = await objectsOf(options, call)
  await using handed = await handSecret(options.secret)
  const args = commandLine(options, { objects, secretArgs: handed.args, socketPath })
  const running = new RunningDaemon(args, socketPath, handed.stdio)
  try {
    await running.waitUntilItAnswers(call.signal)
  } catch (error) {
    await running.kill()
    throw error
  }
  return daemonHandle(running, options.exports)
}

function daemonHandle(running: RunningDaemon, exports: readonly StorageExport[]): StorageDaemon {
  return {
    pid: running.pid,
    lost: running.lost.signal,
    endpoint(exportName) {
      const found = exports.find((candidate) => candidate.name === exportName)
      if (found === undefined) throw new PlatformError('nbd.export_not_found', `there is no export ${exportName}`)
      const contexts = (found.bitmaps ?? []).map((bitmap) => `qemu:dirty-bitmap:${bitmap}`)
      if (found.allocationDepth === true) contexts.push('qemu:allocation-depth')
      const [dirtyContext, ...others] = contexts
      const dirty = dirtyContext === undefined || others.length > 0 ? {} : { dirtyContext }
      return { kind: 'nbd', address: { transport: 'unix', path: running.socketPath }, exportName, ...dirty }
    },
    stop: async ({ signal }) => await running.stop(signal),
    [Symbol.asyncDispose]: async () => await running.kill(),
  }
}

/** `setpriv --pdeathsig` (util-linux): the kernel ends the daemon when the agent dies, however it dies. */
function commandLine(
  options: StorageDaemonOptions,
  own: { readonly objects: readonly object[]; readonly secretArgs: readonly string[]; readonly socketPath: string },
): string[] {
  const { objects, secretArgs, socketPath } = own
  const server = { addr: { type: 'unix', path: socketPath } }
  return [
    '--pdeathsig',
    'KILL',
    '--',
    'qemu-storage-daemon',
    ...secretArgs,
    ...objects.flatMap((object) => ['--object', JSON.stringify(object)]),
    ...options.nodes.flatMap((node) => ['--blockdev', JSON.stringify(node)]),
    '--nbd-server',
    JSON.stringify(server),
    ...options.exports.flatMap((entry, index) => ['--export', JSON.stringify(exportOptions(entry, index))]),
  ]
}

async function objectsOf({ ioThreadsMax }: StorageDaemonOptions, call: CallOptions): Promise<object[]> {
  if (ioThreadsMax === undefined || !(await daemonObjectTypes(call)).has('main-loop')) return []
  return [{ 'qom-type': 'main-loop', 'id': 'main-loop', 'thread-pool-max': ioThreadsMax }]
}

function exportOptions(entry: StorageExport, index: number): object {
  return {
    'type': 'nbd',
    'id': `export${index}`,
    'node-name': entry.nodeName,
    'name': entry.name,
    'writable': entry.writable,
    ...(entry.bitmaps === undefined ? {} : { bitmaps: entry.bitmaps }),
    ...(entry.allocationDepth === true ? { 'allocation-depth': true } : {}),
  }
}

class RunningDaemon {
  readonly socketPath: string
  readonly lost = new AbortController()
  readonly #process: ChildProcess
  readonly #exited: Promise<void>
  #stderr = ''
  #asked = false
  #ended: string | undefined

  constructor(args: readonly string[], socketPath: string, stdio: readonly number[]) {
    this.socketPath = socketPath
    const env = { ...process.env, ...KEEP_BUFFERS }
    this.#process = spawn('setpriv', args, { stdio: ['ignore', 'ignore', 'pipe', ...stdio], env })
    this.#process.stderr?.setEncoding('utf8')
    this.#process.stderr?.on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_TAIL_BYTES)
    })
    this.#exited = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#ended ??= how
        if (!this.#asked) this.lost.abort(this.#disconnected())
        resolve()
      }
      this.#process.once('error', (error) => end(error.message))
      this.#process.once('close', (code, signal) => end(signal === null ? `exit code ${code}` : signal))
    })
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  async waitUntilItAnswers(signal: AbortSignal): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS
    for (;;) {
      signal.throwIfAborted()
      if (this.#ended !== undefined) throw this.#startFailed(`it ended with ${this.#ended}`)
      if (await canConnect(this.socketPath)) return
      if (Date.now() > deadline) throw this.#startFailed('it did not answer in time')
      await Promise.race([this.#exited, delay(POLL_MS)])
    }
  }

  async stop(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#ended !== undefined) throw this.#disconnected()
    this.#asked = true
    this.#process.kill('SIGTERM')
    const until = AbortSignal.any([signal, AbortSignal.timeout(STOP_TIMEOUT_MS)])
    const aborted = new Promise<void>((resolve) => until.addEventListener('abort', () => resolve(), { once: true }))
    await Promise.race([this.#exited, aborted])
    if (this.#ended === undefined) await this.kill()
    await rm(this.socketPath, { force: true })
    signal.throwIfAborted()
    if (this.#ended !== 'exit code 0') throw this.#disconnected()
  }

  async kill(): Promise<void> {
    this.#asked = true
    if (this.#ended === undefined) this.#process.kill('SIGKILL')
    await this.#exited
    await rm(this.socketPath, { force: true })
  }

  #startFailed(how: string): PlatformError {
    return new PlatformError('qemu.start_failed', `qemu-storage-daemon did not start: ${how}. ${this.#stderr.trim()}`)
  }

  #disconnected(): PlatformError {
    const text = `qemu-storage-daemon ended with ${this.#ended}. ${this.#stderr.trim()}`
    return new PlatformError('qemu.disconnected', text)
  }
}

async function canConnect(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
