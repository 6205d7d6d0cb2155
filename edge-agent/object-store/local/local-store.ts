import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { releaseMemory } from '@sendense/shared/runtime/release-memory.ts'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'
import { expectInObject } from '../object-body.ts'
import { expectObjectKey, expectObjectPrefix } from '../object-key.ts'
import type {
  CallOptions,
  ListOptions,
  ObjectBody,
  ObjectFacts,
  ObjectImmutability,
  ObjectStore,
  PutOptions,
} from '../object-store.ts'
import { boundedFiles } from './bounded-files.ts'
import { walkKeys } from './directory-walk.ts'
import { DurableDirectories, usingFile } from './durable-files.ts'
import { toLocalError } from './local-errors.ts'
import { openImmutability } from './local-immutability.ts'
import { LocalWriter, removeLeftovers } from './local-writer.ts'
import { expectMounted, type MountExpectation, MountGuard } from './mount-guard.ts'
import { ProtectionSidecars } from './protection-sidecar.ts'
import { type FileFacts, kernelFiles, type StoreFile, type StoreFiles } from './store-files.ts'
import { createMarker, findMarker, type StoreMarker } from './store-marker.ts'

const OBJECT_MAX_BYTES = 8 * 1024 ** 4
const IN_MEMORY_MAX_BYTES = 1024 ** 3
const PIECE_BYTES = 1024 * 1024
const PAGE_MAX_DEFAULT = 1000
const CALLS_MAX_DEFAULT = 3
const TIMEOUT_MS_DEFAULT = 120_000

export interface LocalStoreOptions extends MountExpectation, CallOptions {
  /** Makes the store where the directory is empty; `worm`: its objects can be retained. Absent: it must be there. */
  readonly create?: { readonly worm: boolean }
  /**
   * Nothing is changed, not even leftovers, and the directory need not say that it is a store: for copies of one, and for
   * storage that is mounted read-only. Putting and deleting are the caller's to leave alone.
   */
  readonly readOnly?: boolean
  /** Objects a page of a listing has at most. Default 1000. */
  readonly pageMax?: number
  /** File calls at a time, and how long one may take: see BoundedFilesOptions. Default 3 and two minutes. */
  readonly callsMax?: number
  readonly timeoutMs?: number
  readonly clock?: Pick<Clock, 'now'>
  /** Default: the kernel's. */
  readonly files?: StoreFiles
}

/**
 * Opens a directory as a store: one file an object, under its key. NFS, iSCSI and SMB storage is a mounted directory.
 *
 * Rejects with `storage.mount_missing` when there is no directory or nothing is mounted, `storage.wrong_store` when it
 * is another store or none, `storage.mount_stale`, `storage.timeout` when the file system does not answer.
 */
export async function openLocalStore(options: LocalStoreOptions): Promise<LocalStore> {
  const { callsMax = CALLS_MAX_DEFAULT, timeoutMs = TIMEOUT_MS_DEFAULT, create, signal } = options
  const files = boundedFiles(options.files ?? kernelFiles, { callsMax, timeoutMs })
  const directory = path.resolve(options.directory)
  const mountPoint = options.mountPoint === undefined ? undefined : path.resolve(options.mountPoint)
  const expected = { directory, mountPoint, storeId: options.storeId }
  try {
    await expectMounted(files, expected, { signal })
    let marker = await findMarker(files, directory, { signal })
    if (marker === undefined) {
      if (options.readOnly === true) marker = { version: 1, storeId: options.storeId ?? randomUUID(), worm: false }
      else if (create === undefined) {
        throw new PlatformError('storage.wrong_store', `${directory} is no store: is the right storage mounted?`)
      } else marker = await createMarker(files, directory, { worm: create.worm, storeId: options.storeId, signal })
    }
    const guard = await MountGuard.open(files, expected, marker, { signal })
    const store = new LocalStore({ files, directory, marker, guard, options })
    if (options.readOnly !== true) await removeLeftovers(files, directory, options.clock ?? systemClock, { signal })
    return store
  } catch (error) {
    throw toLocalError(error, `opening the store in ${directory}`)
  }
}

interface LocalStoreParts {
  readonly files: StoreFiles
  readonly directory: string
  readonly marker: StoreMarker
  readonly guard: MountGuard
  readonly options: LocalStoreOptions
}

export class LocalStore implements ObjectStore {
  readonly description: string
  readonly objectMaxBytes = OBJECT_MAX_BYTES
  /** Says which store it is, wherever it is mounted. */
  readonly storeId: string
  /**
   * Kept by this driver and by read-only files: it stops programs that use the store, mistakes and thieves of the agent's
   * credentials, not somebody who is root on the machine or turns its clock forward.
   */
  readonly immutability?: ObjectImmutability
  readonly #files: StoreFiles
  readonly #directory: string
  readonly #guard: MountGuard
  readonly #writer: LocalWriter
  readonly #pageMax: number

  constructor({ files, directory, marker, guard, options }: LocalStoreParts) {
    this.description = `directory ${directory}`
    this.storeId = marker.storeId
    this.#files = files
    this.#directory = directory
    this.#guard = guard
    this.#pageMax = options.pageMax ?? PAGE_MAX_DEFAULT
    const directories = new DurableDirectories(files, directory)
    const sidecars = marker.worm ? new ProtectionSidecars(files, directories, directory) : undefined
    const clock = options.clock ?? systemClock
    const writer = new LocalWriter({
      files,
      directory,
      directories,
      guard,
      sidecars,
      clock,
      objectMaxBytes: OBJECT_MAX_BYTES,
    })
    this.#writer = writer
    if (sidecars !== undefined) {
      const expectObject = async (key: string, call: CallOptions): Promise<void> => {
        if ((await this.find(key, call)) === undefined) throw this.#notFound(key)
      }
      this.immutability = openImmutability({ writer, sidecars, clock, expectObject })
    }
  }

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<void> {
    await this.#writer.put(key, body, options)
  }

  async delete(key: string, options: CallOptions): Promise<void> {
    await this.#writer.delete(key, { ...options, bypass: false })
  }

  async find(key: string, options: CallOptions): Promise<ObjectFacts | undefined> {
    expectObjectKey(key)
    return await this.#call(`finding object ${key}`, options, async () => {
      const found = await this.#stat(key, options)
      if (found === undefined) await this.#guard.expectHere(options)
      return found
    })
  }

  async get(key: string, options: CallOptions): Promise<Uint8Array> {
    return await this.#reading(key, options, async (file, sizeBytes) => {
      if (sizeBytes > IN_MEMORY_MAX_BYTES) {
        throw new PlatformError('input.invalid', `object ${key} has ${sizeBytes} bytes: read it in ranges`)
      }
      const whole = new Uint8Array(sizeBytes)
      for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
        await this.#fill(file, at, whole.subarray(at, at + PIECE_BYTES), options)
      }
      return whole
    })
  }

  async read(key: string, offsetBytes: number, into: Uint8Array, options: CallOptions): Promise<void> {
    await this.#reading(key, options, async (file, sizeBytes) => {
      expectInObject(key, sizeBytes, offsetBytes, into.length)
      // A read that hangs in the kernel writes to its memory whenever it ends: that must not be the caller's.
      const piece = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, into.length))
      for (let at = 0; at < into.length; at += piece.length) {
        const part = piece.subarray(0, Math.min(piece.length, into.length - at))
        await this.#fill(file, offsetBytes + at, part, options)
        into.set(part, at)
      }
      releaseMemory(piece)
    })
  }

  async *list(prefix: string, { signal, after }: ListOptions): AsyncGenerator<readonly ObjectFacts[]> {
    expectObjectPrefix(prefix)
    const what = `listing ${prefix === '' ? 'all objects' : prefix}`
    await this.#call(what, { signal }, async () => await this.#guard.expectHere({ signal }))
    const keys = walkKeys(this.#files, this.#directory, { prefix, after, signal })
    for (;;) {
      const { page, isLast } = await this.#call(what, { signal }, async () => await this.#nextPage(keys, { signal }))
      if (page.length > 0) yield page
      if (isLast) return
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #nextPage(keys: AsyncGenerator<string>, options: CallOptions) {
    const some: string[] = []
    let isLast = false
    while (some.length < this.#pageMax && !isLast) {
      const next = await keys.next()
      if (next.done === true) isLast = true
      else some.push(next.value)
    }
    const found = await Promise.all(some.map(async (key) => await this.#stat(key, options)))
    // Without this, a mount that went away on the way would look like objects that were deleted.
    if (isLast || found.includes(undefined)) await this.#guard.expectHere(options)
    return { page: found.filter((facts) => facts !== undefined), isLast }
  }

  async #stat(key: string, options: CallOptions): Promise<ObjectFacts | undefined> {
    try {
      const facts = await this.#files.stat(path.join(this.#directory, key), options)
      return facts.kind === 'file' ? objectFacts(key, facts) : undefined
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  async #reading<T>(
    key: string,
    options: CallOptions,
    work: (file: StoreFile, sizeBytes: number) => Promise<T>,
  ): Promise<T> {
    expectObjectKey(key)
    return await this.#call(`reading object ${key}`, options, async () => {
      let file: StoreFile
      try {
        file = await this.#files.open(path.join(this.#directory, key), options)
      } catch (error) {
        if (!isMissing(error)) throw error
        await this.#guard.expectHere(options)
        throw this.#notFound(key)
      }
      return await usingFile(file, options, async () => {
        const facts = await file.stat(options)
        if (facts.kind !== 'file') throw this.#notFound(key)
        return await work(file, facts.sizeBytes)
      })
    })
  }

  async #fill(file: StoreFile, offsetBytes: number, into: Uint8Array, options: CallOptions): Promise<void> {
    for (let filled = 0; filled < into.length;) {
      const count = await file.read(offsetBytes + filled, into.subarray(filled), options)
      if (count === 0) throw new PlatformError('storage.io_failed', `a file of ${this.description} became shorter`)
      filled += count
    }
  }

  async #call<T>(what: string, { signal }: CallOptions, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      throw toLocalError(error, `${what} in ${this.#directory}`)
    }
  }

  #notFound(key: string): PlatformError {
    return new PlatformError('storage.not_found', `there is no object ${key} in ${this.#directory}`)
  }
}

function objectFacts(key: string, { sizeBytes, modifiedAt }: FileFacts): ObjectFacts {
  return { key, sizeBytes, modifiedAt }
}

function isMissing(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}
