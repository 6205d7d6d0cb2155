import { spawn } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import { handSecret, type QemuSecret } from './qemu-secret.ts'

const OUTPUT_MAX_BYTES = 1024 * 1024

/** What `qemu-img check` found in one QCOW2 file, by itself. Leaks waste space; corruptions lose data. */
export interface Qcow2CheckReport {
  readonly corruptions: number
  readonly leaks: number
  /** The program's own words, for logs. */
  readonly output: string
}

export interface NewQcow2Image {
  readonly path: string
  /** A multiple of 512. */
  readonly sizeBytes: number
  /** Written into the header for people who look at the file. It is never opened. */
  readonly backingName?: string
  /** Encrypts the content with LUKS inside (AES-256-XTS); the passphrase must be as good as a random key. */
  readonly secret?: QemuSecret
}

/** What a run may be given beside its arguments. */
export interface QemuImgOptions extends CallOptions {
  readonly secret?: QemuSecret | undefined
}

/**
 * For the passphrase: it is a random key, which no number of iterations makes better, and every opening pays for them.
 * QEMU does a thousand at least.
 */
const LUKS_ITERATE_MS = 1
/** QEMU measures how fast the machine is with a clock that may stand still meanwhile; then it gives up. */
const MEASURE_TRIES_MAX = 20
const MEASURE_AGAIN_MS = 20

/**
 * Makes a sparse QCOW2 version 3 file with clusters of 64 KiB.
 * Rejects with `qemu.start_failed`, `qemu.command_failed`, or the signal's reason.
 */
export async function createQcow2Image(image: NewQcow2Image, { signal }: CallOptions): Promise<void> {
  const { secret } = image
  const backing = image.backingName === undefined ? [] : ['-u', '-b', image.backingName, '-F', 'qcow2']
  const layout = ['compat=1.1', 'cluster_size=65536', 'lazy_refcounts=off', ...luksOptions(secret)].join()
  const args = ['-q', '-f', 'qcow2', '-o', layout, ...backing, image.path, String(image.sizeBytes)]
  for (let tries = 1; ; tries += 1) {
    const run = await runQemuImg('create', args, { signal, secret })
    if (run.exitCode === 0) return
    const isMeasured = secret === undefined || !run.output.includes('Unable to get accurate CPU usage')
    if (isMeasured || tries === MEASURE_TRIES_MAX) throw commandFailed('create', run)
    await delay(MEASURE_AGAIN_MS, undefined, { signal })
  }
}

/** All of them named, so that no later QEMU chooses others (QEMU docs/system/qemu-block-drivers.rst.inc, "qcow2"). */
function luksOptions(secret: QemuSecret | undefined): string[] {
  if (secret === undefined) return []
  const cipher = ['cipher-alg=aes-256', 'cipher-mode=xts', 'ivgen-alg=plain64', 'hash-alg=sha256']
  const options = ['format=luks', `key-secret=${secret.id}`, ...cipher, `iter-time=${LUKS_ITERATE_MS}`]
  return options.map((option) => `encrypt.${option}`)
}

/** How a node of the block graph is told that an image is encrypted with `secret`. */
export function luksNodeOptions(secret: QemuSecret | undefined): { readonly encrypt?: object } {
  return secret === undefined ? {} : { encrypt: { 'format': 'luks', 'key-secret': secret.id } }
}

/**
 * Checks one QCOW2 file that nobody has open for writing; nothing that its header names is opened.
 * Rejects with `qemu.command_failed` when it could not be checked at all.
 */
export async function checkQcow2Image(path: string, options: QemuImgOptions): Promise<Qcow2CheckReport> {
  const file = { driver: 'file', filename: path }
  const image = { driver: 'qcow2', backing: null, file, ...luksNodeOptions(options.secret) }
  const run = await runQemuImg('check', [`json:${JSON.stringify(image)}`], options)
  // qemu-img(1), "check": 0 clean, 2 corruptions, 3 leaks only, 1 could not check.
  if (run.exitCode === 0) return { corruptions: 0, leaks: 0, output: run.output }
  if (run.exitCode === 2) return { corruptions: 1, leaks: 0, output: run.output }
  if (run.exitCode === 3) return { corruptions: 0, leaks: 1, output: run.output }
  throw commandFailed('check', run)
}

/** Runs `qemu-img` and rejects with `qemu.command_failed` unless it answers 0. Returns what it printed. */
export async function expectSuccess(args: readonly [string, ...string[]], options: CallOptions): Promise<string> {
  const [command, ...rest] = args
  const run = await runQemuImg(command, rest, options)
  if (run.exitCode !== 0) throw commandFailed(command, run)
  return run.output
}

interface QemuImgRun {
  readonly exitCode: number
  /** Of a run that failed what it said of it, then what it printed. */
  readonly output: string
}

async function runQemuImg(
  command: string,
  args: readonly string[],
  { signal, secret }: QemuImgOptions,
): Promise<QemuImgRun> {
  signal.throwIfAborted()
  await using handed = await handSecret(secret)
  const run = Promise.withResolvers<QemuImgRun>()
  const child = spawn('qemu-img', [command, ...handed.args, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', ...handed.stdio],
    signal,
    killSignal: 'SIGKILL',
  })
  const [printed, said] = [new CutText(), new CutText()]
  child.stdout?.on('data', (bytes: Buffer) => printed.add(bytes))
  child.stderr?.on('data', (bytes: Buffer) => said.add(bytes))
  child.once('error', (error) => {
    if (signal.aborted) return
    const text = `qemu-img ${command} did not run: ${error.message}`
    run.reject(new PlatformError('qemu.start_failed', text, { cause: error }))
  })
  child.once('close', (code, killedBy) => {
    if (signal.aborted) run.reject(signal.reason)
    else if (code === 0) run.resolve({ exitCode: 0, output: printed.text })
    else if (code !== null) run.resolve({ exitCode: code, output: said.text + printed.text })
    else run.reject(new PlatformError('qemu.start_failed', `qemu-img ${command} was ended by ${killedBy}`))
  })
  return await run.promise
}

/** The beginning of what a program prints. */
class CutText {
  readonly #chunks: Buffer[] = []
  #lengthBytes = 0

  add(bytes: Buffer): void {
    if (this.#lengthBytes >= OUTPUT_MAX_BYTES) return
    this.#chunks.push(bytes)
    this.#lengthBytes += bytes.length
  }

  get text(): string {
    return Buffer.concat(this.#chunks).subarray(0, OUTPUT_MAX_BYTES).toString('utf8')
  }
}

function commandFailed(command: string, run: QemuImgRun): PlatformError {
  const text = run.output.trim().slice(0, 1000)
  return new PlatformError('qemu.command_failed', `qemu-img ${command} failed: ${text}`, {
    details: { exitCode: run.exitCode, noSpace: /No space left on device|Disk quota exceeded/.test(text) },
  })
}
