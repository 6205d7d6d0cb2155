import { z } from 'zod'

const PREFIX = 'sendense-'

/** Name of a fleecing overlay's file beside the disks. */
export const ScratchFile = z.string().regex(/^sendense-[0-9a-f-]{1,64}-[A-Za-z][A-Za-z0-9_.-]{0,30}\.fleece$/)

/** Whether a session of ours, alive or dead, gave this name to a bitmap, node, job, export or file. */
export function isOurs(name: string): boolean {
  return name.startsWith(PREFIX)
}

/** The names of everything that one session makes in QEMU and beside the disks. */
export interface SessionNames {
  /** Records from the session's instant on: the next backup's base. */
  readonly bitmap: string
  /** What had changed at the instant; the export shows it. */
  readonly frozenBitmap: string
  disk(
    diskId: string,
    index: number,
  ): {
    readonly job: string
    /** Also the export's name for clients: never that of another session or VM, whatever way they come back. */
    readonly export: string
    /** At most 31 bytes, as QEMU wants it. */
    readonly node: string
    readonly scratchFile: string
  }
}

export function sessionNames(sessionId: string): SessionNames {
  const bitmap = `${PREFIX}${sessionId}`
  const tag = sessionId.replaceAll('-', '').slice(-12)
  return {
    bitmap,
    frozenBitmap: `${bitmap}-frozen`,
    disk: (diskId, index) => ({
      job: `${bitmap}-${diskId}`,
      export: `${bitmap}-${diskId}`,
      node: `${PREFIX}${tag}-${index}`,
      scratchFile: `${bitmap}-${diskId}.fleece`,
    }),
  }
}
