import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import type { CollectionReport, PackTally, WaitingList } from '../repository/chunk-store/collect/collection-report.ts'

const reasons: Readonly<Record<WaitingList['why'], string>> = {
  grace: 'it was condemned less than a day ago',
  clock: 'the clocks of this machine and of the storage do not agree on when; it waits anew',
  session: 'somebody who may still need it is writing, or died less than a few hours ago',
}

/** A report of a collection, for people. */
export function describeCollection(report: CollectionReport): string {
  const { restorePoints, stored, condemned, deleted, spared, locked, left, waiting, fenced, stopped } = report
  const end = stopped === undefined ? [] : [`stopped, nothing more was deleted: ${stopped.code}: ${stopped.message}`]
  // It did not come to see anything.
  if (stopped !== undefined && stored.packs === 0) return end.join('\n')
  const lines = [
    `${restorePoints} restore points in ${packsOf(stored)}`,
    `${report.isDryRun ? 'would be condemned' : 'condemned'}: ${packsOf(condemned)}`,
    report.isDryRun ? `would be deleted: ${packsOf(left)}` : `deleted: ${packsOf(deleted)}`,
    ...told('condemned before, still needed', spared),
    ...told('kept because the storage protects them', locked),
    ...(report.isDryRun ? [] : told('left for the next run', left)),
    ...waiting.map(({ packs, why }) => `${packs} packs wait: ${reasons[why]}`),
    ...(fenced.length === 0 ? [] : [`writers that are dead, and shut out now: ${fenced.length}`]),
    ...(report.voidPoints === 0 ? [] : [`restore points that were never finished, deleted: ${report.voidPoints}`]),
    ...end,
  ]
  return lines.join('\n')
}

function told(what: string, tally: PackTally): string[] {
  return tally.packs === 0 ? [] : [`${what}: ${packsOf(tally)}`]
}

function packsOf({ packs, bytes }: PackTally): string {
  return `${packs} packs, ${formatByteSize(bytes)}`
}
