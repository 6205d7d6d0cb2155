import { execFile } from 'node:child_process'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'

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
}

/**
 * Makes a sparse QCOW2 version 3 file with clusters of 64 KiB.
 * Rejects with `qemu.start_failed`, `qemu.command_failed`, or the signal's reason.
 */
export async function createQcow2Image(image: NewQcow2Image, options: CallOptions): Promise<void> {
  const backing = image.backingName === undefined ? [] : ['-u', '-b', image.backingName, '-F', 'qcow2']
  const layout = ['-o', 'compat=1.1,cluster_size=65536,lazy_refcounts=off']
  await expectSuccess(
    ['create', '-q', '-f', 'qcow2', ...layout, ...backing, image.path, String(image.sizeBytes)],
    options,
  )
}

/**
 * Checks one QCOW2 file that nobody has open for writing; nothing that its header names is opened.
 * Rejects with `qemu.command_failed` when it could not be checked at all.
 */
export async function checkQcow2Image(path: string, options: CallOptions): Promise<Qcow2CheckReport> {
  const image = { driver: 'qcow2', backing: null, file: { driver: 'file', filename: path } }
  const run = await runQemuImg(['check', `json:${JSON.stringify(image)}`], options)
  // qemu-img(1), "check": 0 clean, 2 corruptions, 3 leaks only, 1 could not check.
  if (run.exitCode === 0) return { corruptions: 0, leaks: 0, output: run.output }
  if (run.exitCode === 2) return { corruptions: 1, leaks: 0, output: run.output }
  if (run.exitCode === 3) return { corruptions: 0, leaks: 1, output: run.output }
  throw commandFailed(['check', path], run)
}

/** Runs `qemu-img` and rejects with `qemu.command_failed` unless it answers 0. Returns what it printed. */
export async function expectSuccess(args: readonly string[], options: CallOptions): Promise<string> {
  const run = await runQemuImg(args, options)
  if (run.exitCode !== 0) throw commandFailed(args, run)
  return run.output
}

interface QemuImgRun {
  readonly exitCode: number
  readonly output: string
}

async function runQemuImg(args: readonly string[], { signal }: CallOptions): Promise<QemuImgRun> {
  signal.throwIfAborted()
  return await new Promise<QemuImgRun>((resolve, reject) => {
    const options = { signal, encoding: 'utf8', maxBuffer: OUTPUT_MAX_BYTES, killSignal: 'SIGKILL' } as const
    execFile('qemu-img', args, options, (error, stdout, stderr) => {
      if (signal.aborted) reject(signal.reason)
      else if (error === null) resolve({ exitCode: 0, output: stdout })
      else if (typeof error.code === 'number') resolve({ exitCode: error.code, output: stderr + stdout })
      else
        reject(
          new PlatformError('qemu.start_failed', `qemu-img ${args[0]} did not run: ${error.message}`, { cause: error }),
        )
    })
  })
}

function commandFailed(args: readonly string[], run: QemuImgRun): PlatformError {
  const text = run.output.trim().slice(0, 1000)
  return new PlatformError('qemu.command_failed', `qemu-img ${args[0]} failed: ${text}`, {
    details: { exitCode: run.exitCode, noSpace: /No space left on device|Disk quota exceeded/.test(text) },
  })
}
