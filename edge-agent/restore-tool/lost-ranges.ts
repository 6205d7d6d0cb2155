import { endOf } from '@sendense/shared/domain/extent.ts'
import type { LostRange } from './archive.ts'

/** What of the disks of one restore point could not be read, each byte once, whoever finds it and how often. */
export class LostRanges {
  /** By disk and offset. */
  readonly #found = new Map<string, LostRange>()
  readonly #onFound: (range: LostRange) => void

  /** @param onFound told of each range the first time */
  constructor(onFound: (range: LostRange) => void = () => undefined) {
    this.#onFound = onFound
  }

  add(range: LostRange): void {
    const name = `${range.diskId} ${range.offsetBytes}`
    if (this.#found.has(name)) return
    this.#found.set(name, range)
    this.#onFound(range)
  }

  /** Chunks and ranges found. */
  get count(): number {
    return this.#found.size
  }

  get lostBytes(): number {
    return this.list().reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)
  }

  /** Ordered by disk and offset; neighbours in one, with the reason of the first. */
  list(): LostRange[] {
    const merged: LostRange[] = []
    for (const range of [...this.#found.values()].toSorted(byPlace)) {
      const last = merged.at(-1)
      if (last === undefined || last.diskId !== range.diskId || endOf(last) < range.offsetBytes) merged.push(range)
      else {
        const lengthBytes = Math.max(endOf(last), endOf(range)) - last.offsetBytes
        merged[merged.length - 1] = { ...last, lengthBytes }
      }
    }
    return merged
  }
}

function byPlace(left: LostRange, right: LostRange): number {
  if (left.diskId !== right.diskId) return left.diskId < right.diskId ? -1 : 1
  return left.offsetBytes - right.offsetBytes
}
