import { median } from './bench-report.ts'
import { type Contenders, measureUsage, type Usage } from './resource-usage.ts'

export interface Contestant {
  readonly name: string
  /** Done before each run and not timed. */
  readonly prepare?: () => Promise<void>
  readonly run: () => Promise<void>
  /** Whose CPU time and memory count. Absent: of the programs that `run` starts. */
  readonly contenders?: Contenders
}

/** What each counted round took, by contestant. */
export type Usages = ReadonlyMap<string, readonly Usage[]>

/**
 * Runs all contestants in turn, round after round, so that whatever else the machine does hits all alike. The first round
 * warms caches and is not counted.
 */
export async function contest(contestants: readonly Contestant[], rounds: number): Promise<Usages> {
  const usages = new Map(contestants.map(({ name }) => [name, [] as Usage[]]))
  for (let round = 0; round <= rounds; round += 1) {
    for (const { name, prepare, run, contenders = {} } of contestants) {
      await prepare?.()
      const usage = await measureUsage(run, contenders)
      if (round > 0) usages.get(name)?.push(usage)
    }
  }
  return usages
}

/** Median of one contestant's seconds over another's: above 1 means that the second is faster. */
export function ratio(usages: Usages, peer: string, ours: string): number {
  return median(secondsOf(usages, peer)) / median(secondsOf(usages, ours))
}

export function secondsOf(usages: Usages, name: string): readonly number[] {
  return usagesOf(usages, name).map(({ seconds }) => seconds)
}

export function peakBytesOf(usages: Usages, name: string): number {
  return Math.max(...usagesOf(usages, name).map(({ peakBytes }) => peakBytes))
}

/** CPU seconds for each GiB of data: the median of the rounds. */
export function cpuSecondsPerGib(usages: Usages, name: string, dataBytes: number): number {
  return median(usagesOf(usages, name).map(({ cpuSeconds }) => cpuSeconds)) / (dataBytes / 1024 ** 3)
}

/** For the report's line of a contestant. @param sizeBytes of the disks, holes included; `dataBytes` without */
export function factsOf(
  usages: Usages,
  name: string,
  { dataBytes, sizeBytes = dataBytes }: { readonly dataBytes: number; readonly sizeBytes?: number },
): Record<string, number> {
  const seconds = median(secondsOf(usages, name))
  return {
    rawGibPerSecond: Number((dataBytes / 1024 ** 3 / seconds).toFixed(3)),
    effectiveGibPerSecond: Number((sizeBytes / 1024 ** 3 / seconds).toFixed(3)),
    cpuSecondsPerGib: Number(cpuSecondsPerGib(usages, name, dataBytes).toFixed(3)),
    peakMib: Math.round(peakBytesOf(usages, name) / 1024 ** 2),
  }
}

function usagesOf(usages: Usages, name: string): readonly Usage[] {
  const found = usages.get(name)
  if (found === undefined) throw new Error(`no contestant is called ${name}`)
  return found
}
