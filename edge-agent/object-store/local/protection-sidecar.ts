import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'
import { z } from 'zod'
import type { CallOptions } from '../object-store.ts'
import type { Protection } from '../retention-rule.ts'
import { createDurably, type DurableDirectories, readSmallFile } from './durable-files.ts'
import type { StoreFiles } from './store-files.ts'
import { OWN_FOLDER } from './store-marker.ts'

/** `.sendense/protection/KEY~`: until when an object stays. The tilde keeps it apart from folders: no key has one. */
const ProtectionSidecar = z.strictObject({
  version: z.literal(1),
  retention: z.strictObject({ mode: z.enum(['governance', 'compliance']), retainUntil: z.iso.datetime() }).optional(),
  legalHold: z.boolean(),
})

/** Retentions and holds beside the objects. A sidecar is durable before its object can be seen, and outlives it. */
export class ProtectionSidecars {
  readonly #files: StoreFiles
  readonly #directories: DurableDirectories
  readonly #directory: string

  constructor(files: StoreFiles, directories: DurableDirectories, storeDirectory: string) {
    this.#files = files
    this.#directories = directories
    this.#directory = path.join(storeDirectory, OWN_FOLDER, 'protection')
  }

  /**
   * What protects an object; nothing where there is no sidecar.
   * Rejects with `storage.io_failed` when it cannot be understood: then nobody knows what may be deleted.
   */
  async read(key: string, options: CallOptions): Promise<Protection> {
    const file = this.#path(key)
    const text = await readSmallFile(this.#files, file, options)
    if (text === undefined) return { legalHold: false }
    try {
      const { retention, legalHold } = ProtectionSidecar.parse(JSON.parse(text))
      if (retention === undefined) return { legalHold }
      return { legalHold, retention: { mode: retention.mode, retainUntil: new Date(retention.retainUntil) } }
    } catch (error) {
      throw new PlatformError('storage.io_failed', `the protection of object ${key} cannot be understood: ${file}`, {
        cause: error,
      })
    }
  }

  async write(key: string, { retention, legalHold }: Protection, options: CallOptions): Promise<void> {
    const file = this.#path(key)
    const until = retention?.retainUntil.toISOString()
    const content: z.infer<typeof ProtectionSidecar> = {
      version: 1,
      legalHold,
      ...(retention === undefined || until === undefined
        ? {}
        : { retention: { mode: retention.mode, retainUntil: until } }),
    }
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#directories.make(path.dirname(file), options)
        await createDurably(this.#files, file, JSON.stringify(content), options)
        return
      } catch (error) {
        // A delete elsewhere has just removed the empty directory.
        if (systemCode(error) !== 'ENOENT' || tries === 5) throw error
        this.#directories.forget(path.dirname(file))
      }
    }
  }

  /** For an object that is gone. */
  async remove(key: string, options: CallOptions): Promise<void> {
    try {
      await this.#files.remove(this.#path(key), options)
    } catch (error) {
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return
      throw error
    }
    await this.#directories.prune(path.dirname(this.#path(key)), options)
  }

  #path(key: string): string {
    return path.join(this.#directory, `${key}~`)
  }
}
