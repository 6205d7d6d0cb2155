import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ChainContext } from '../../repository/qcow2-chain/chain-context.ts'
import type { ManifestLocation } from '../../repository/qcow2-chain/manifest-store.ts'
import { openChainReader } from '../../repository/qcow2-chain/restore-point-reader.ts'
import { withRepositoryErrors } from '../../repository/repository-errors.ts'
import type { SealedManifest } from '../../repository/restore-point-manifest.ts'
import type { Archive, ArchivedDisk, ArchivedPoint, FoundPoint, OpenPointOptions } from '../archive.ts'
import { programMissing } from '../extract-qcow2.ts'

/** A repository of QCOW2 chains, read only: QEMU's storage daemon reads the layers. It owns `resources`. */
export class ChainArchive implements Archive {
  readonly kind = 'qcow2-chain'
  readonly repositoryId: string
  readonly description: string
  readonly idKey: Uint8Array
  readonly warnings: readonly string[]
  readonly #context: ChainContext
  readonly #resources: AsyncDisposable

  constructor(context: ChainContext, warnings: readonly string[], resources: AsyncDisposable) {
    this.repositoryId = context.descriptor.repositoryId
    this.description = `directory ${context.dir}`
    this.idKey = context.idKey
    this.warnings = warnings
    this.#context = context
    this.#resources = resources
  }

  async listRestorePoints({ signal }: CallOptions): Promise<readonly FoundPoint[]> {
    const { manifests } = this.#context
    return await withRepositoryErrors('listing restore points', async () => {
      const found: FoundPoint[] = []
      for (const location of await manifests.list({})) {
        signal.throwIfAborted()
        const { vmId, restorePointId } = location
        found.push({ vmId, restorePointId, manifest: await this.#read(location) })
      }
      return found
    })
  }

  async openRestorePoint(sealed: SealedManifest, { signal }: OpenPointOptions): Promise<ArchivedPoint> {
    try {
      const reader = await withRepositoryErrors('opening the restore point', async () => {
        return await openChainReader(this.#context, sealed, { signal })
      })
      const disks = new Map<string, ArchivedDisk>()
      for (const [diskId, { source, chunkIds }] of reader.disks) {
        disks.set(diskId, { diskId, source, chunkIds, lostIds: [] })
      }
      const count = sealed.manifest.disks.reduce((sum, { layers = [] }) => sum + layers.length, 0)
      const close = async (): Promise<void> => await reader[Symbol.asyncDispose]()
      return { sealed, disks, files: { count, missing: [] }, [Symbol.asyncDispose]: close }
    } catch (error) {
      throw isPlatformError(error, 'qemu.start_failed') ? programMissing('qemu-storage-daemon', error) : error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]()
  }

  async #read(location: ManifestLocation): Promise<FoundPoint['manifest']> {
    try {
      return await this.#context.manifests.read(location)
    } catch (error) {
      if (isPlatformError(error, 'repository.manifest_invalid')) return error
      throw error
    }
  }
}
