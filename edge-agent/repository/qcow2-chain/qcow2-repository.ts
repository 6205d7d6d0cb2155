import { statfs } from 'node:fs/promises'
import { resolve } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { SigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { createQcow2Image } from '../../qemu/qemu-img.ts'
import { restorePointNotFound, withRepositoryErrors } from '../repository-errors.ts'
import type {
  BackupWriter,
  ChainCare,
  DeleteOptions,
  NewBackup,
  Repository,
  RepositoryCapacity,
  RestorePointReader,
} from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import type { ChainContext, ChainStep } from './chain-context.ts'
import { deleteChainPoint } from './delete-point.ts'
import { layerSecretOf } from './layer-key.ts'
import { removeLeftovers } from './leftovers.ts'
import { createManifestStore } from './manifest-store.ts'
import { openChainBackup } from './open-backup.ts'
import { createPlacementStore } from './placement-store.ts'
import { readRepositoryDescriptor } from './repository-descriptor.ts'
import { openChainReader } from './restore-point-reader.ts'
import { shortenChain } from './shorten-chain.ts'

/** Longer chains cost more for each read, and one damaged layer costs all above it. */
const CHAIN_LAYERS_MAX = 32
const ID_KEY_BYTES = 32

export interface Qcow2RepositoryOptions {
  readonly dir: string
  /** Another repository in that place is refused. */
  readonly expectedRepositoryId: string
  /** 32 bytes: the key of its chunk ids. */
  readonly idKey: Uint8Array
  /** 32 bytes, for a repository that was made with one. */
  readonly layerKey?: Uint8Array
  /** Seals manifests; those it sealed are believed. */
  readonly signingKey: SigningKey
  /** Further keys whose manifests are believed; SPKI DER, base64. */
  readonly trustedPublicKeys: readonly string[]
  /** For sockets: a short path. */
  readonly runtimeDir: string
  readonly clock: Clock
  readonly logger?: Logger
  /** Layers of a chain at most; 32 where not given. */
  readonly chainLayersMax?: number
  /** For tests: makes the file of a new layer. */
  readonly createImage?: typeof createQcow2Image
  /** For tests: called at each step of sealing, deleting and merging. */
  readonly crashPoint?: (step: ChainStep) => void
}

/**
 * Opens a repository of QCOW2 chains on a file system of this machine and removes what dead writers left in it.
 * Rejects with `repository.missing`, `repository.not_a_repository`, `repository.format_unsupported`,
 * `repository.key_wrong`, `repository.io_failed`.
 */
export async function openQcow2Repository(options: Qcow2RepositoryOptions, call: CallOptions): Promise<Repository> {
  if (options.idKey.length !== ID_KEY_BYTES) {
    throw new PlatformError('config.invalid', `the key of chunk ids has ${options.idKey.length} bytes, wanted 32`)
  }
  const dir = resolve(options.dir)
  const descriptor = await readRepositoryDescriptor(dir, call)
  const { signingKey, trustedPublicKeys } = options
  const stores = { dir, repositoryId: descriptor.repositoryId, signingKey, trustedPublicKeys }
  const context: ChainContext = {
    dir,
    descriptor,
    manifests: createManifestStore(stores),
    placements: createPlacementStore(stores),
    idKey: options.idKey,
    layerSecret: layerSecretOf(descriptor, options.layerKey),
    runtimeDir: options.runtimeDir,
    chainLayersMax: options.chainLayersMax ?? CHAIN_LAYERS_MAX,
    clock: options.clock,
    logger: options.logger,
    createImage: options.createImage ?? createQcow2Image,
    crashPoint: options.crashPoint ?? (() => undefined),
  }
  const repository = new Qcow2Repository(context, options.expectedRepositoryId, options.idKey)
  await repository.expectHere(call)
  await withRepositoryErrors('removing leftovers', async () => await removeLeftovers(context, call.signal))
  return repository
}

class Qcow2Repository implements Repository {
  readonly repositoryId: string
  readonly kind = 'qcow2-chain'
  readonly chunkSizeBytes: number
  readonly idKey: Uint8Array
  readonly chainCare: ChainCare
  readonly #context: ChainContext

  constructor(context: ChainContext, expectedRepositoryId: string, idKey: Uint8Array) {
    this.#context = context
    this.repositoryId = expectedRepositoryId
    this.chunkSizeBytes = context.descriptor.chunkSizeBytes
    this.idKey = idKey
    this.chainCare = { shorten: async (restorePointId, call) => await this.#shorten(restorePointId, call) }
  }

  /** The storage may have been unmounted or exchanged since: nothing is read or written before this was asked. */
  async expectHere(call: CallOptions): Promise<void> {
    const { dir } = this.#context
    const found = await readRepositoryDescriptor(dir, call)
    if (found.repositoryId === this.repositoryId) return
    const text = `${dir} holds repository ${found.repositoryId}, not ${this.repositoryId}`
    throw new PlatformError('repository.not_a_repository', text, { details: { dir } })
  }

  async getCapacity(call: CallOptions): Promise<RepositoryCapacity> {
    await this.expectHere(call)
    return await withRepositoryErrors('asking for free space', async () => {
      const facts = await statfs(this.#context.dir)
      return { capacityBytes: facts.blocks * facts.bsize, freeBytes: facts.bavail * facts.bsize }
    })
  }

  async *listRestorePoints(filter: { readonly vmId?: string }, call: CallOptions): AsyncGenerator<SealedManifest> {
    await this.expectHere(call)
    const { manifests } = this.#context
    const broken: unknown[] = []
    for (const location of await withRepositoryErrors('listing', async () => await manifests.list(filter))) {
      call.signal.throwIfAborted()
      const read = await settle(withRepositoryErrors('listing', async () => await manifests.read(location)))
      if ('value' in read) yield read.value
      else broken.push(read.error)
    }
    if (broken.length > 0) throw broken[0]
  }

  async getRestorePoint(restorePointId: string, call: CallOptions): Promise<SealedManifest> {
    await this.expectHere(call)
    return await withRepositoryErrors(`reading restore point ${restorePointId}`, async () => {
      const location = await this.#context.manifests.find(restorePointId)
      if (location !== undefined) return await this.#context.manifests.read(location)
      throw restorePointNotFound(restorePointId)
    })
  }

  async isChainFull(restorePointId: string, call: CallOptions): Promise<boolean> {
    const sealed = await this.getRestorePoint(restorePointId, call)
    return await withRepositoryErrors(`reading restore point ${restorePointId}`, async () => {
      const { layers } = await this.#context.placements.find(sealed)
      return [...layers.values()].some((chain) => chain.length >= this.#context.chainLayersMax)
    })
  }

  async openBackup(backup: NewBackup, call: CallOptions): Promise<BackupWriter> {
    const capacity = await this.getCapacity(call)
    return await withRepositoryErrors(
      `opening restore point ${backup.restorePointId}`,
      async () => await openChainBackup(this.#context, backup, capacity, call),
    )
  }

  async openRestorePoint(restorePointId: string, call: CallOptions): Promise<RestorePointReader> {
    const sealed = await this.getRestorePoint(restorePointId, call)
    return await withRepositoryErrors(
      `opening restore point ${restorePointId}`,
      async () => await openChainReader(this.#context, sealed, call),
    )
  }

  async deleteRestorePoint(restorePointId: string, options: DeleteOptions): Promise<void> {
    await this.expectHere(options)
    await withRepositoryErrors(
      `deleting restore point ${restorePointId}`,
      async () => await deleteChainPoint(this.#context, restorePointId, options),
    )
  }

  async #shorten(restorePointId: string, options: DeleteOptions): Promise<void> {
    await this.expectHere(options)
    await withRepositoryErrors(
      `shortening the chain of restore point ${restorePointId}`,
      async () => await shortenChain(this.#context, restorePointId, options),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

async function settle<T>(promise: Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await promise }
  } catch (error) {
    return { error }
  }
}
