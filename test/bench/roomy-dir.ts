import { readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'

/** What the programs themselves need besides. */
const SPARE_BYTES = 3 * 1024 ** 3

/** Memory where there is enough of it, so that no disk is measured; the temporary directory otherwise. */
export async function roomyDir(neededBytes: number): Promise<string> {
  const { bavail, bsize } = await statfs('/dev/shm').catch(() => ({ bavail: 0, bsize: 0 }))
  const isRoomy = bavail * bsize >= neededBytes && availableBytes() >= neededBytes + SPARE_BYTES
  return isRoomy ? '/dev/shm' : tmpdir()
}

/** proc(5), /proc/meminfo: what programs can have without swapping. */
function availableBytes(): number {
  return Number(/MemAvailable:\s+(\d+) kB/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024
}
