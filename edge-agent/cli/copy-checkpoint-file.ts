import { readFile, rm } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { type CopyCheckpoint, noCheckpoint } from '../mover/mover.ts'
import { writeDurably } from '../repository/qcow2-chain/durable-file.ts'

const FORMAT = 'sendense-copy-checkpoint'
const Count = z.int().nonnegative()

/** What is copied where: another copy cannot go on from its checkpoint. */
const CopyIdentity = z.strictObject({
  source: z.string(),
  target: z.string(),
  targetIsZero: z.boolean(),
  detectZeroes: z.boolean(),
  dirtyBitmap: z.string().optional(),
})
export type CopyIdentity = z.infer<typeof CopyIdentity>

const CheckpointFile = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(1),
  copy: CopyIdentity,
  checkpoint: z.strictObject({ offsetBytes: Count, sizeBytes: Count, doneBytes: Count, doneExtents: Count }),
})

export interface CheckpointFileEvents {
  /** It is on the disk: the copy can go on from there, whatever happens. */
  readonly onKept: (checkpoint: CopyCheckpoint) => void
  /** It could not be written. The copy itself is well. */
  readonly onFailed: (error: unknown) => void
}

/** The file that `copy --checkpoint` keeps: where a copy that was killed can go on. */
export class CopyCheckpointFile {
  readonly #path: string
  readonly #copy: CopyIdentity
  readonly #events: CheckpointFileEvents
  #writing: Promise<void> = Promise.resolve()
  #latest: CopyCheckpoint = noCheckpoint
  #written: CopyCheckpoint = noCheckpoint

  constructor(path: string, copy: CopyIdentity, events: CheckpointFileEvents) {
    this.#path = path
    this.#copy = copy
    this.#events = events
  }

  /**
   * Where to go on; the start where there is no file. Rejects with `input.invalid` when the file is something else or
   * of another copy.
   */
  async read(): Promise<CopyCheckpoint> {
    const text = await this.#readText()
    if (text === undefined) return noCheckpoint
    const parsed = CheckpointFile.safeParse(parseJson(text))
    if (!parsed.success) throw this.#refused('is not a checkpoint of a copy')
    const { copy, checkpoint } = parsed.data
    const [before, now] = [copy, this.#copy].map((one) => JSON.stringify(CopyIdentity.parse(one)))
    if (before !== now) throw this.#refused(`belongs to another copy (${copy.source} to ${copy.target})`)
    this.#latest = checkpoint
    this.#written = checkpoint
    return checkpoint
  }

  /** Keeps a checkpoint, unless it is the one that is kept. One write at a time; only the newest matters. */
  note(checkpoint: CopyCheckpoint): void {
    if (checkpoint.offsetBytes <= this.#latest.offsetBytes) return
    this.#latest = checkpoint
    this.#writing = this.#writing.then(async () => await this.#write())
  }

  /** Resolves when what was noted is on the disk, or could not be written. */
  async settle(): Promise<void> {
    await this.#writing
  }

  /** The copy is complete: the next one begins anew. */
  async delete(): Promise<void> {
    await this.#writing
    await rm(this.#path, { force: true })
  }

  /** Never rejects. */
  async #write(): Promise<void> {
    const checkpoint = this.#latest
    if (checkpoint === this.#written) return
    const content = { format: FORMAT, version: 1, copy: this.#copy, checkpoint }
    try {
      await writeDurably(this.#path, `${JSON.stringify(content, null, 2)}\n`, `${this.#path}.new`)
      this.#written = checkpoint
      this.#events.onKept(checkpoint)
    } catch (error) {
      this.#events.onFailed(error)
    }
  }

  async #readText(): Promise<string | undefined> {
    try {
      return await readFile(this.#path, 'utf8')
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      const why = error instanceof Error ? error.message : String(error)
      throw new PlatformError('input.invalid', `cannot read ${this.#path}: ${why}`, { cause: error })
    }
  }

  #refused(why: string): PlatformError {
    return new PlatformError('input.invalid', `${this.#path} ${why}: name another file, or delete it to begin anew`)
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
