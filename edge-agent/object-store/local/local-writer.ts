import { randomUUID } from 'node:crypto'
import path from 'node:path'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'
import { bodyPieces, bodySizeBytes, expectBody } from '../object-body.ts'
import { expectObjectKey } from '../object-key.ts'
import type { CallOptions, ObjectBody, PutOptions, Retention } from '../object-store.ts'
import { expectDeletable, expectLonger, type Protection } from '../retention-rule.ts'
import { type DurableDirectories, removeQuietly, usingFile } from './durable-files.ts'
import { KeyLocks } from './key-locks.ts'
import { toLocalError } from './local-errors.ts'
import type { MountGuard } from './mount-guard.ts'
import type { ProtectionSidecars } from './protection-sidecar.ts'
import type { StoreFile, StoreFiles } from './store-files.ts'
import { OWN_FOLDER } from './store-marker.ts'

const PIECE_BYTES = 4 * 1024 * 1024
const COMPARE_BYTES = 1024 * 1024
const LEFTOVER_AGE_MS = 24 * 60 * 60 * 1000
const FOLDER_TRIES = 5

export interface LocalWriterParts {
  readonly files: StoreFiles
  readonly directory: string
  readonly directories: DurableDirectories
  readonly guard: MountGuard
  /** Absent: objects cannot be retained here. */
  readonly sidecars: ProtectionSidecars | undefined
  readonly clock: Pick<Clock, 'now'>
  readonly objectMaxBytes: number
}

/** What changes a local store: one change a key at a time. */
export class LocalWriter {
  readonly #parts: LocalWriterParts
  readonly #locks = new KeyLocks()

  constructor(parts: LocalWriterParts) {
    this.#parts = parts
  }

  /** Written beside and synced, its protection made durable, given its name, the name made durable: in this order. */
  async put(key: string, body: ObjectBody, options: PutOptions & { retention?: Retention }): Promise<void> {
    const { signal, sha256, retention } = options
    expectObjectKey(key)
    expectBody(body, { objectMaxBytes: this.#parts.objectMaxBytes, sha256 })
    await this.#call(`putting object ${key}`, { signal }, async () => {
      const temporary = await this.#writeTemporary(body, options)
      try {
        await this.#locks.run(
          key,
          async () => await this.#finish(key, { temporary, sizeBytes: bodySizeBytes(body), retention, signal }),
          { signal },
        )
      } finally {
        await removeQuietly(this.#parts.files, temporary)
      }
    })
  }

  async delete(key: string, { signal, bypass }: CallOptions & { bypass: boolean }): Promise<void> {
    expectObjectKey(key)
    const { files, sidecars, clock, directories } = this.#parts
    await this.#call(`deleting object ${key}`, { signal }, async () => {
      await this.#locks.run(
        key,
        async () => {
          if ((await this.#sizeOf(key, { signal })) === undefined) return
          if (sidecars !== undefined) {
            expectDeletable(key, await sidecars.read(key, { signal }), clock.now(), { bypass })
          }
          const file = this.#path(key)
          await removeIfThere(files, file, { signal })
          await files.syncDirectory(path.dirname(file), { signal })
          await sidecars?.remove(key, { signal })
          await directories.prune(path.dirname(file), { signal })
        },
        { signal },
      )
    })
  }

  /** Runs a change of an object's protection; errors leave as `storage.*`. */
  async changing<T>(key: string, options: CallOptions, work: () => Promise<T>): Promise<T> {
    expectObjectKey(key)
    return await this.#call(`protecting object ${key}`, options, async () => await this.#locks.run(key, work, options))
  }

  async #writeTemporary(body: ObjectBody, { signal, sha256 }: PutOptions): Promise<string> {
    const { files, directory } = this.#parts
    const temporary = path.join(directory, OWN_FOLDER, 'partial', randomUUID())
    try {
      await usingFile(await this.#create(temporary, { signal }), { signal }, async (file) => {
        for await (const piece of bodyPieces(body, { pieceBytes: PIECE_BYTES, sha256, signal })) {
          await file.append(piece, { signal })
        }
        await file.sync({ signal })
      })
      return temporary
    } catch (error) {
      await removeQuietly(files, temporary)
      throw error
    }
  }

  async #create(temporary: string, options: CallOptions): Promise<StoreFile> {
    return await this.#inFolderOf(temporary, options, async () => await this.#parts.files.create(temporary, options))
  }

  async #finish(
    key: string,
    put: CallOptions & { temporary: string; sizeBytes: number; retention: Retention | undefined },
  ): Promise<void> {
    const { sidecars, clock } = this.#parts
    const { signal, retention } = put
    const now = clock.now()
    const presentBytes = await this.#sizeOf(key, { signal })
    const isThere = presentBytes !== undefined
    const isSame = presentBytes === put.sizeBytes && (await this.#hasSameContent(key, put))
    if (sidecars !== undefined) {
      // What a put that was cut short left behind protects nothing.
      const present: Protection = isThere ? await sidecars.read(key, { signal }) : { legalHold: false }
      if (isThere && !isSame) expectDeletable(key, present, now, { bypass: false })
      if (retention !== undefined) {
        expectLonger(key, present.retention, retention, now)
        await sidecars.write(key, { retention, legalHold: present.legalHold }, { signal })
      } else if (!isThere) await sidecars.remove(key, { signal })
    }
    if (isSame) await this.#parts.files.syncDirectory(path.dirname(this.#path(key)), { signal })
    else await this.#giveName(key, put)
  }

  async #giveName(key: string, { temporary, signal }: CallOptions & { temporary: string }): Promise<void> {
    const { files } = this.#parts
    const file = this.#path(key)
    await this.#inFolderOf(file, { signal }, async () => {
      await files.rename(temporary, file, { signal })
      await files.syncDirectory(path.dirname(file), { signal })
    })
  }

  /** Makes the folder of a file and does the work in it; again, when somebody else removed the folder meanwhile. */
  async #inFolderOf<T>(file: string, options: CallOptions, work: () => Promise<T>): Promise<T> {
    const { directories } = this.#parts
    for (let tries = 1; ; tries += 1) {
      try {
        await directories.make(path.dirname(file), options)
        return await work()
      } catch (error) {
        if (systemCode(error) !== 'ENOENT' || tries === FOLDER_TRIES) throw error
        directories.forget(path.dirname(file))
      }
    }
  }

  async #hasSameContent(key: string, { temporary, signal }: CallOptions & { temporary: string }): Promise<boolean> {
    const { files } = this.#parts
    return await usingFile(await files.open(this.#path(key), { signal }), { signal }, async (there) => {
      return await usingFile(await files.open(temporary, { signal }), { signal }, async (ours) => {
        const left = Buffer.allocUnsafeSlow(COMPARE_BYTES)
        const right = Buffer.allocUnsafeSlow(COMPARE_BYTES)
        for (let at = 0; ; at += COMPARE_BYTES) {
          const leftBytes = await there.read(at, left, { signal })
          const rightBytes = await ours.read(at, right, { signal })
          if (left.compare(right, 0, rightBytes, 0, leftBytes) !== 0) return false
          if (leftBytes < COMPARE_BYTES) return true
        }
      })
    })
  }

  /** Undefined where there is no object; a folder under its name is refused. */
  async #sizeOf(key: string, options: CallOptions): Promise<number | undefined> {
    try {
      const facts = await this.#parts.files.stat(this.#path(key), options)
      if (facts.kind === 'directory') return undefined
      return facts.sizeBytes
    } catch (error) {
      const code = systemCode(error)
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
      throw error
    }
  }

  async #call<T>(what: string, options: CallOptions, work: () => Promise<T>): Promise<T> {
    options.signal.throwIfAborted()
    try {
      await this.#parts.guard.expectHere(options)
      return await work()
    } catch (error) {
      throw toLocalError(error, `${what} in ${this.#parts.directory}`)
    }
  }

  #path(key: string): string {
    return path.join(this.#parts.directory, key)
  }
}

/** Removes what puts that were cut short have left, once no put can be writing it any more. */
export async function removeLeftovers(
  files: StoreFiles,
  directory: string,
  clock: Pick<Clock, 'now'>,
  options: CallOptions,
): Promise<void> {
  const folder = path.join(directory, OWN_FOLDER, 'partial')
  let names: readonly string[]
  try {
    names = await files.list(folder, options)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return
    throw error
  }
  for (const name of names) {
    const file = path.join(folder, name)
    const { modifiedAt } = await files.stat(file, options).catch(() => ({ modifiedAt: clock.now() }))
    if (clock.now().getTime() - modifiedAt.getTime() > LEFTOVER_AGE_MS) await removeQuietly(files, file)
  }
}

async function removeIfThere(files: StoreFiles, file: string, options: CallOptions): Promise<void> {
  try {
    await files.remove(file, options)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
