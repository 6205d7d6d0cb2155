import { readFileSync } from 'node:fs'

/** One process for all time: the kernel gives a pid to somebody else later, but never with the same start time. */
export interface ProcessIdentity {
  readonly pid: number
  /** Clock ticks between the machine's boot and the process's start (proc(5), stat field 22). */
  readonly startTicks: string
}

/** The identity of the process that has this pid now; undefined when there is none or it has ended already. */
export function findProcess(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid)
  if (stat === undefined) return undefined
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name in brackets may hold spaces
  const [state] = fields
  const startTicks = fields[19]
  if (startTicks === undefined || state === 'Z' || state === 'X') return undefined
  return { pid, startTicks }
}

export function isAlive(identity: ProcessIdentity): boolean {
  return findProcess(identity.pid)?.startTicks === identity.startTicks
}

/** Sends a signal only to the very process; returns whether it was there. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false
  try {
    return process.kill(identity.pid, signal)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false // it ended this instant
    throw error
  }
}

function readStat(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined
  }
}
