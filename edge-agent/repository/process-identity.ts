import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { z } from 'zod'

/** A process that cannot be mistaken for a later one with the same number. */
export const ProcessIdentity = z.strictObject({
  /** For messages; it tells machines apart only where one of them has no `machineId`. */
  host: z.string().max(255),
  /** Stays when the host name changes. Absent where the machine has none, and in locks of older agents. */
  machineId: z.string().max(64).optional(),
  /** Changes with every boot of the machine. */
  bootId: z.string().max(64),
  pid: z.int().positive(),
  /** Clock ticks after boot (proc(5), /proc/pid/stat, field 22). */
  startTicks: z.string().max(32),
})
export type ProcessIdentity = z.infer<typeof ProcessIdentity>

export type Machine = Pick<ProcessIdentity, 'host' | 'machineId'>

export async function ownProcessIdentity(): Promise<ProcessIdentity> {
  const startTicks = await startTicksOf(process.pid)
  return { ...(await ownMachine()), bootId: await ownBootId(), pid: process.pid, startTicks: startTicks ?? '0' }
}

/** Whether it may still run. A process of another machine may: nobody here can know. */
export async function mayBeAlive(other: ProcessIdentity, here?: Machine): Promise<boolean> {
  if (!isSameMachine(other, here ?? (await ownMachine()))) return true
  if (other.bootId !== (await ownBootId())) return false
  return (await startTicksOf(other.pid)) === other.startTicks
}

/** This machine; without `machineId` where the file is missing or not filled yet (machine-id(5)). */
export async function ownMachine(machineIdPath = '/etc/machine-id'): Promise<Machine> {
  let text = ''
  try {
    text = (await readFile(machineIdPath, 'utf8')).trim()
  } catch {
    // Not every system has one: the host name has to do.
  }
  if (!/^[0-9a-f]{32}$/.test(text)) return { host: hostname() }
  // The id itself must not leave the machine, and locks lie on shared storage: only what was derived from it does.
  return { host: hostname(), machineId: createHmac('sha256', text).update('sendense repository lock').digest('hex') }
}

function isSameMachine(one: Machine, other: Machine): boolean {
  if (one.machineId !== undefined && other.machineId !== undefined) return one.machineId === other.machineId
  return one.host === other.host
}

async function ownBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}

/** Undefined where there is no such process, or only what is left of it until its parent has looked (state Z). */
async function startTicksOf(pid: number): Promise<string | undefined> {
  let text: string
  try {
    text = await readFile(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined
  }
  // The command's name, in parentheses, may hold anything: fields are counted from behind it. The first is field 3.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' ? undefined : fields[19]
}
