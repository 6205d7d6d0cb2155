import { readFileSync } from 'node:fs'
import process from 'node:process'

const SAMPLE_INTERVAL_MS = 50
/** Of CPU times in /proc: 100 on every Linux there is today (sysconf(3), _SC_CLK_TCK). */
const TICKS_PER_SECOND = 100
const PAGE_BYTES = 4096

/** Which processes a contestant is made of. Programs that it starts and waits for always count. */
export interface Contenders {
  /** This process does the work. */
  readonly self?: boolean
  /** Processes that run already and do the work. */
  readonly pids?: readonly number[]
}

export interface Usage {
  readonly seconds: number
  readonly cpuSeconds: number
  /** Resident memory of all of them together, the largest that was seen; pages they share count for each. */
  readonly peakBytes: number
}

/** Runs `work` and tells what it took of the machine. */
export async function measureUsage(work: () => Promise<void>, { self = false, pids = [] }: Contenders): Promise<Usage> {
  const before = new Set(childrenOf(process.pid))
  const resident = (): number => {
    const started = childrenOf(process.pid).filter((pid) => !before.has(pid))
    return sum([...started, ...pids, ...(self ? [process.pid] : [])].map((pid) => residentBytes(pid)))
  }
  const cpuSeconds = (): number => {
    const ownSeconds = self ? sum(Object.values(process.cpuUsage())) / 1e6 : 0
    return ownSeconds + waitedForSeconds() + sum(pids.map((pid) => runningSeconds(pid)))
  }
  let peakBytes = resident()
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, resident())
  }, SAMPLE_INTERVAL_MS)
  const [startedMs, cpuBefore] = [performance.now(), cpuSeconds()]
  try {
    await work()
    const seconds = (performance.now() - startedMs) / 1000
    return { seconds, cpuSeconds: cpuSeconds() - cpuBefore, peakBytes: Math.max(peakBytes, resident()) }
  } finally {
    clearInterval(timer)
  }
}

/** Children of a process, and theirs. */
export function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)])
}

/** proc(5), /proc/pid/task/tid/children: only those that its first thread started, which is all of Node's. */
export function childrenOf(pid: number): number[] {
  const text = readProc(`${pid}/task/${pid}/children`)
  return text.split(' ').filter(Boolean).map(Number)
}

/** proc(5), /proc/pid/statm: the second number counts resident pages. */
function residentBytes(pid: number): number {
  return Number(readProc(`${pid}/statm`).split(' ')[1] ?? 0) * PAGE_BYTES
}

/** Fields 14 and 15 of /proc/pid/stat; the name of the program, field 2, may have spaces. */
function runningSeconds(pid: number): number {
  return ticks(pid, 14) + ticks(pid, 15)
}

/** Fields 16 and 17: of children that have ended. */
function waitedForSeconds(): number {
  return ticks(process.pid, 16) + ticks(process.pid, 17)
}

function ticks(pid: number, field: number): number {
  const [, rest = ''] = readProc(`${pid}/stat`).split(/\)(?=[^)]*$)/)
  return Number(rest.trim().split(' ')[field - 3] ?? 0) / TICKS_PER_SECOND
}

/** Empty where the process has just ended. */
function readProc(name: string): string {
  try {
    return readFileSync(`/proc/${name}`, 'utf8')
  } catch {
    return ''
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
