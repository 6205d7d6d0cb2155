import { readFileSync } from 'node:fs'

const SAMPLE_INTERVAL_MS = 20

/** Runs `work` and tells the largest resident memory this process had meanwhile, in bytes, sampled. */
export async function withMemoryPeak(work: () => Promise<void>): Promise<number> {
  let peakBytes = residentBytes()
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, residentBytes())
  }, SAMPLE_INTERVAL_MS)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
  return Math.max(peakBytes, residentBytes())
}

/** proc(5), /proc/self/statm: the second number counts resident pages of 4 KiB, shared ones included. */
function residentBytes(): number {
  return Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * 4096
}
