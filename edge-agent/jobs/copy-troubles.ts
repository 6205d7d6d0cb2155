import type { CopyProgress } from '../mover/mover.ts'
import type { JobRun } from './job-runner.ts'

/** What a copy overcame; zeros where nothing was wrong. */
export type CopyTroubles = Pick<CopyProgress, 'retriedReads' | 'rewinds'>

/**
 * Runs a copy, and writes into the job's log what it overcame, whether it came to its end or not. The copy tells of its
 * progress by `note`.
 */
export async function withTroublesLogged<T>(
  run: Pick<JobRun, 'log'>,
  copy: (note: (troubles: CopyTroubles) => void) => Promise<T>,
): Promise<T> {
  let last: CopyTroubles = { retriedReads: 0, rewinds: 0 }
  try {
    return await copy((troubles) => {
      last = troubles
    })
  } finally {
    const sentence = troublesSentence(last)
    if (sentence !== undefined) await run.log('warning', 'copy', sentence)
  }
}

/** One sentence on what somebody should look at although the copy went on; undefined where there is nothing. */
export function troublesSentence({ retriedReads, rewinds }: CopyTroubles): string | undefined {
  const parts: string[] = []
  if (retriedReads > 0) parts.push(`${times(retriedReads, 'read')} failed and had to be tried again`)
  if (rewinds > 0) parts.push(`the copy had to go back to a checkpoint ${times(rewinds, 'time')}`)
  if (parts.length === 0) return undefined
  const text = parts.join('; ')
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}: look at the disks and their storage.`
}

/** The same in a few words, for the sentence of the progress; empty where there is nothing. */
export function troublesNote({ retriedReads, rewinds }: CopyTroubles): string {
  const parts: string[] = []
  if (retriedReads > 0) parts.push(`${times(retriedReads, 'read')} tried again`)
  if (rewinds > 0) parts.push(`went back ${times(rewinds, 'time')}`)
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`
}

function times(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
