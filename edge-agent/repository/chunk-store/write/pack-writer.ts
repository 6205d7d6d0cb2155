import assert from 'node:assert/strict'
import { settleAll } from '@sendense/shared/runtime/settle-all.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import type { CompressionPreset } from '../format/chunk-compression.ts'
import { packKey } from '../format/object-keys.ts'
import { type ClosedPack, PackBuilder } from '../format/pack-builder.ts'
import type { ChunkKind } from '../format/registered-ids.ts'
import type { CataloguedPack } from '../index/pack-catalogue.ts'
import type { BufferHolder, PackBuffers } from './pack-buffers.ts'
import { type ProtectionPeriod, putProtected } from './put-protected.ts'

/** What all packs of one session have in common. */
export interface PackSettings {
  readonly repositoryId: string
  readonly generation: number
  readonly epoch: number
  /** 32 bytes. */
  readonly epochKey: Uint8Array
  readonly packSizeBytes: number
  readonly chunkSizeBytes: number
  readonly compression: CompressionPreset
  /** Absent: packs are not retained. */
  readonly protection?: ProtectionPeriod
}

export interface PackWriterParts {
  readonly store: ObjectStore
  readonly settings: PackSettings
  readonly buffers: PackBuffers
  /** Chunks that need not be stored. */
  readonly isKnown: (id: Uint8Array) => boolean
  /** Told of each pack that is durable; the pack counts when it resolves. */
  readonly onDurable: (pack: CataloguedPack) => Promise<void>
  readonly newPackId: () => string
  /** Whether the store is told what a pack hashes to: it costs nothing where requests are signed with it. */
  readonly tellSha256: boolean
  /** Aborts when nothing that is written counts any more. */
  readonly ended: AbortSignal
}

/**
 * Stores chunks in packs: each is compressed, encrypted and placed in the open pack at once; full packs are put behind
 * the caller's back, several at a time, as many as there are buffers. What failed once fails for good: its chunks are lost
 * with it, and the writer rejects with that error from then on.
 */
export class PackWriter implements AsyncDisposable {
  readonly #parts: PackWriterParts
  readonly #holder: BufferHolder = { heldCount: 0 }
  readonly #abandon = new AbortController()
  readonly #putting = new Set<Promise<void>>()
  /** Chunks of packs that are not durable yet. */
  readonly #pending = new Set<string>()
  #open: { readonly builder: PackBuilder; readonly buffer: Uint8Array; readonly names: string[] } | undefined
  #opening: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(parts: PackWriterParts) {
    this.#parts = parts
    const { ended } = parts
    const onEnd = (): void => this.#giveUp(ended.reason)
    if (ended.aborted) onEnd()
    ended.addEventListener('abort', onEnd, { once: true, signal: this.#abandon.signal })
  }

  /** As ChunkSink.put. The chunk is not looked at but for its length: `id` must be its own. */
  put(id: Uint8Array, kind: ChunkKind, chunk: readonly Uint8Array[], options: CallOptions): Promise<void> | undefined {
    this.#expectSound()
    const name = Buffer.from(id.buffer, id.byteOffset, id.length).toString('latin1')
    if (this.#pending.has(name) || this.#parts.isKnown(id)) return undefined
    if (this.#open !== undefined || this.#tryOpen()) {
      this.#append(id, kind, name, chunk)
      return undefined
    }
    return this.#putLater(id, kind, chunk, options)
  }

  /** Resolves when all that was put before is durable and counts. Rejects with what a put failed with. */
  async flush({ signal }: CallOptions): Promise<void> {
    this.#expectSound()
    // A pack may have been begun for a chunk that somebody else stored meanwhile.
    if (this.#open !== undefined && this.#open.builder.chunkCount > 0) this.#close()
    const onAbort = (): void => this.#giveUp(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      await settleAll([...this.#putting])
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
    signal.throwIfAborted()
    this.#expectSound()
  }

  /** Gives up what is not flushed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#giveUp(new Error('the writer was closed'))
    await Promise.all(this.#putting)
    if (this.#open !== undefined) this.#parts.buffers.giveBack(this.#holder, this.#open.buffer)
    this.#open = undefined
  }

  async #putLater(
    id: Uint8Array,
    kind: ChunkKind,
    chunk: readonly Uint8Array[],
    { signal }: CallOptions,
  ): Promise<void> {
    const kept = Uint8Array.from(id)
    const name = Buffer.from(kept).toString('latin1')
    while (this.#open === undefined) {
      this.#opening ??= this.#openNext()
      await untilAborted(this.#opening, signal)
      this.#expectSound()
    }
    if (!this.#pending.has(name) && !this.#parts.isKnown(kept)) this.#append(kept, kind, name, chunk)
  }

  /** One at a time waits for a buffer: all that wait put into the same pack. */
  async #openNext(): Promise<void> {
    try {
      this.#begin(await this.#parts.buffers.take(this.#holder, { signal: this.#abandon.signal }))
    } finally {
      this.#opening = undefined
    }
  }

  #tryOpen(): boolean {
    if (this.#opening !== undefined) return false
    const buffer = this.#parts.buffers.tryTake(this.#holder)
    if (buffer === undefined) return false
    this.#begin(buffer)
    return true
  }

  #begin(buffer: Uint8Array): void {
    const builder = new PackBuilder({ ...this.#parts.settings, packId: this.#parts.newPackId(), buffer })
    this.#open = { builder, buffer, names: [] }
  }

  #append(id: Uint8Array, kind: ChunkKind, name: string, chunk: readonly Uint8Array[]): void {
    const open = this.#open
    assert(open !== undefined)
    open.builder.append({ id, kind }, chunk)
    open.names.push(name)
    this.#pending.add(name)
    if (open.builder.isFull) this.#close()
  }

  #close(): void {
    const open = this.#open
    assert(open !== undefined)
    this.#open = undefined
    const closed = open.builder.close()
    const putting = this.#ship(closed, open.names)
      .catch((error: unknown) => this.#giveUp(error))
      .finally(() => {
        this.#putting.delete(putting)
        this.#parts.buffers.giveBack(this.#holder, open.buffer)
      })
    this.#putting.add(putting)
  }

  async #ship({ bytes, footer, directory, sha256 }: ClosedPack, names: readonly string[]): Promise<void> {
    const { store, settings, onDurable, tellSha256 } = this.#parts
    const { packId, generation, epoch } = footer
    const key = packKey({ packId, generation })
    const options = { signal: this.#abandon.signal, ...(tellSha256 ? { sha256 } : {}) }
    await putProtected(store, key, bytes, { ...options, protection: settings.protection })
    await onDurable({ packId, generation, epoch, directory, sizeBytes: bytes.length })
    for (const name of names) this.#pending.delete(name)
  }

  #giveUp(error: unknown): void {
    this.#failure ??= { error }
    this.#abandon.abort(this.#failure.error)
  }

  #expectSound(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }
}
