import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { z } from 'zod'

/** A process that cannot be mistaken for a later one with the same number. */
export const ProcessIdentity = z.strictObject({
  host: z.string().max(255),
  /** Changes with every boot of the machine. */
  bootId: z.string().max(64),
  pid: z.int().positive(),
  /** Clock ticks after boot (proc(5), /proc/pid/stat, field 22). */
  startTicks: z.string().max(32),
})
export type ProcessIdentity = z.infer<typeof ProcessIdentity>

export async function ownProcessIdentity(): Promise<ProcessIdentity> {
  const startTicks = await startTicksOf(process.pid)
  return { host: hostname(), bootId: await ownBootId(), pid: process.pid, startTicks: startTicks ?? '0' }
}

/** Whether it may still run. A process of another machine may: nobody here can know. */
export async function mayBeAlive(other: ProcessIdentity): Promise<boolean> {
  if (other.host !== hostname()) return true
  if (other.bootId !== (await ownBootId())) return false
  return (await startTicksOf(other.pid)) === other.startTicks
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
