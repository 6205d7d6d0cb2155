import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import process from 'node:process'

const SAMPLE_INTERVAL_MS = 20
/** sysconf(3), _SC_CLK_TCK: 100 on every Linux Node runs on. */
const TICKS_PER_SECOND = 100

export interface ChildUsage {
  readonly seconds: number
  /** User and system, of the program and of the children it waited for. */
  readonly cpuSeconds: number
  /** Largest resident memory of the program itself, sampled. */
  readonly peakBytes: number
}

/**
 * Runs a program to its end and tells what it used. One at a time: CPU time is what this process' ended children used
 * meanwhile. Rejects, with the last of its error output, when it does not end well.
 */
export async function runMeasured(
  command: string,
  args: readonly string[],
  { env = {}, cwd }: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string } = {},
): Promise<ChildUsage> {
  const cpuBefore = childrenCpuSeconds()
  const startedMs = performance.now()
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
  })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4096)
  })
  let peakBytes = 0
  const sample = (): void => {
    peakBytes = Math.max(peakBytes, child.pid === undefined ? 0 : residentPeakBytes(child.pid))
  }
  const timer = setInterval(sample, SAMPLE_INTERVAL_MS)
  try {
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${String(code)}: ${errors}`)
  } finally {
    clearInterval(timer)
  }
  const seconds = (performance.now() - startedMs) / 1000
  return { seconds, cpuSeconds: childrenCpuSeconds() - cpuBefore, peakBytes }
}

/** proc(5), /proc/pid/stat: cutime and cstime, fields 16 and 17, of children that were waited for. */
export function childrenCpuSeconds(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND
}

/** proc(5), /proc/pid/status, VmHWM; 0 once the process is gone. */
function residentPeakBytes(pid: number): number {
  try {
    const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return Number(match?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}
