import { statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'

/** Memory where there is enough of it, so that no disk is measured; the temporary directory otherwise. */
export async function roomyDir(neededBytes: number): Promise<string> {
  const { bavail, bsize } = await statfs('/dev/shm').catch(() => ({ bavail: 0, bsize: 0 }))
  return bavail * bsize >= neededBytes ? '/dev/shm' : tmpdir()
}
