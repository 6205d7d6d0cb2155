import { readFileSync } from 'node:fs'
import process from 'node:process'
import { childrenCpuSeconds, type ChildUsage } from './measured-child.ts'
import { withMemoryPeak } from './memory-peak.ts'

const TICKS_PER_SECOND = 100

/**
 * What `work` used in this process, all its threads, in the children that ended meanwhile, and in helpers that go on
 * running, such as the server of a disk.
 */
export async function measureOwn(work: () => Promise<void>, helperPids: readonly number[] = []): Promise<ChildUsage> {
  const cpuBefore = process.cpuUsage()
  const childrenBefore = childrenCpuSeconds()
  const helpersBefore = helperPids.map((pid) => cpuSecondsOf(pid))
  const startedMs = performance.now()
  const peakBytes = await withMemoryPeak(work)
  const seconds = (performance.now() - startedMs) / 1000
  const { user, system } = process.cpuUsage(cpuBefore)
  const children = childrenCpuSeconds() - childrenBefore
  const helpers = helperPids.reduce((sum, pid, index) => sum + cpuSecondsOf(pid) - (helpersBefore[index] ?? 0), 0)
  return { seconds, cpuSeconds: (user + system) / 1e6 + children + helpers, peakBytes }
}

/** proc(5), /proc/pid/stat: utime and stime, fields 14 and 15. */
function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}
