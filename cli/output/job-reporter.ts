import type { JobDetailView } from '@sendense/shared/contracts/api/protection-api.ts'
import type { JobProgress } from '@sendense/shared/contracts/job.ts'
import type { TextOutput } from '../cli-context.ts'
import { stateText } from './job-text.ts'
import { printable } from './printable.ts'
import { progressFigures, progressLine, shareDone } from './progress-text.ts'

const COLUMNS_DEFAULT = 80

/** Shows one job while it runs. */
export interface JobReporter {
  show(job: JobDetailView): void
  /** Ends what is on the current line. */
  close(): void
}

/** One line that redraws itself on a terminal; elsewhere a line where the step changes or another tenth is done. */
export function createJobReporter(output: TextOutput): JobReporter {
  return output.isTTY === true ? terminalReporter(output) : lineReporter(output)
}

function terminalReporter(output: TextOutput): JobReporter {
  let drawn = false
  return {
    show: (job) => {
      const columns = columnsOf(output)
      const text = job.progress === null ? printable(stateText(job)) : progressLine(job.progress, columns)
      output.write(`\r\u001b[2K${text.slice(0, columns - 1)}`)
      drawn = true
    },
    close: () => {
      if (drawn) output.write('\r\u001b[2K')
      drawn = false
    },
  }
}

/** A terminal that does not know its width says 0. */
function columnsOf({ columns }: TextOutput): number {
  return columns === undefined || columns < 2 ? COLUMNS_DEFAULT : columns
}

function lineReporter(output: TextOutput): JobReporter {
  let last = ''
  return {
    show: (job) => {
      const key = job.progress === null ? stateText(job) : progressKey(job.progress)
      if (key === last) return
      last = key
      output.write(`${printable(job.progress === null ? stateText(job) : lineOf(job.progress))}\n`)
    },
    close: () => undefined,
  }
}

function progressKey(progress: JobProgress): string {
  const share = shareDone(progress)
  const tenth = share === undefined ? -1 : Math.floor(share * 10)
  // The figures inside a sentence change all the time; the step and the tenth tell enough.
  return `${progress.phase} ${tenth}`
}

function lineOf(progress: JobProgress): string {
  const figures = progressFigures(progress)
  return figures === ''
    ? `${progress.phase}: ${progress.sentence}`
    : `${progress.phase}: ${figures}: ${progress.sentence}`
}
