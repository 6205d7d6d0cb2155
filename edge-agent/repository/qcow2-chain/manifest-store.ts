import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { SigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { RestorePointManifest, type SealedManifest } from '../restore-point-manifest.ts'
import { makeDirectoryDurably, syncDirectory, writeDurably } from './durable-file.ts'
import { namesIn } from './names-in.ts'
import { folders, isLayerOf, manifestFileName, manifestPath, parseManifestFileName } from './repository-layout.ts'
import { openSealedBytes, sealBytes, type SealKeys, sealKeysOf } from './sealed-file.ts'

/** Where a manifest lies; not yet read. */
export interface ManifestLocation {
  readonly vmId: string
  readonly restorePointId: string
  readonly fileName: string
}

export interface ManifestStoreOptions {
  readonly dir: string
  readonly repositoryId: string
  readonly signingKey: SigningKey
  /** SPKI DER, base64: keys whose manifests are believed, the own one among them or not. */
  readonly trustedPublicKeys: readonly string[]
}

/** The sealed manifests of one repository. Errors of the system pass untranslated. */
export interface ManifestStore {
  /** All names that look like manifests, oldest first. */
  list(filter: { readonly vmId?: string }): Promise<ManifestLocation[]>
  find(restorePointId: string): Promise<ManifestLocation | undefined>
  /** Rejects with `repository.manifest_invalid` where it cannot be trusted. */
  read(location: ManifestLocation): Promise<SealedManifest>
  /**
   * Makes a restore point exist. Everything it refers to must be durable.
   * @param onWritten called when the content is durable under its temporary name
   */
  seal(manifest: RestorePointManifest, temporaryPath: string, onWritten: () => void): Promise<SealedManifest>
  /**
   * Makes a restore point cease to exist, durably. When it rejects, that is not certain.
   * @param onUnlinked called when its name is gone, and may come back with a power cut
   */
  remove(location: ManifestLocation, onUnlinked: () => void): Promise<void>
}

export function createManifestStore(options: ManifestStoreOptions): ManifestStore {
  const keys = sealKeysOf(options.signingKey, options.trustedPublicKeys)
  const list = async (filter: { readonly vmId?: string }): Promise<ManifestLocation[]> =>
    await listLocations(options.dir, filter)
  return {
    list,
    find: async (restorePointId) => (await list({})).find((location) => location.restorePointId === restorePointId),
    read: async (location) => {
      const bytes = await readFile(pathOf(options.dir, location))
      return openManifest(bytes, location, options.repositoryId, keys)
    },
    seal: async (manifest, temporaryPath, onWritten) => {
      const bytes = sealBytes(payloadTypes.restorePointManifest, manifest, keys)
      const { vmId, takenAt, restorePointId } = manifest
      const fileName = manifestFileName(takenAt, restorePointId)
      // Read back before it exists: nothing is sealed that could not be opened again.
      const sealed = openManifest(bytes, { vmId, restorePointId, fileName }, options.repositoryId, keys)
      const path = join(options.dir, manifestPath(vmId, takenAt, restorePointId))
      await makeDirectoryDurably(options.dir, dirname(path))
      await writeDurably(path, bytes, temporaryPath, onWritten)
      return sealed
    },
    remove: async (location, onUnlinked) => {
      const path = pathOf(options.dir, location)
      await rm(path)
      onUnlinked()
      await syncDirectory(dirname(path))
    },
  }
}

async function listLocations(dir: string, filter: { readonly vmId?: string }): Promise<ManifestLocation[]> {
  const root = join(dir, folders.manifests)
  const vmIds = filter.vmId === undefined ? await namesIn(root) : [filter.vmId]
  const locations: ManifestLocation[] = []
  for (const vmId of vmIds.filter((name) => z.uuid().safeParse(name).success)) {
    for (const fileName of await namesIn(join(root, vmId))) {
      const restorePointId = parseManifestFileName(fileName)
      if (restorePointId !== undefined) locations.push({ vmId, restorePointId, fileName })
    }
  }
  return locations.toSorted((a, b) => (a.fileName < b.fileName ? -1 : 1))
}

function openManifest(
  bytes: Uint8Array,
  location: ManifestLocation,
  repositoryId: string,
  keys: SealKeys,
): SealedManifest {
  try {
    const { value, payloadHash } = openSealedBytes(bytes, payloadTypes.restorePointManifest, keys)
    const manifest = RestorePointManifest.parse(value)
    expectInItsPlace(manifest, location, repositoryId)
    return { manifest, manifestHash: payloadHash }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const text = `the manifest of restore point ${location.restorePointId} cannot be trusted: ${why}`
    throw new PlatformError('repository.manifest_invalid', text.slice(0, 1000), {
      cause: error,
      details: { restorePointId: location.restorePointId, vmId: location.vmId },
    })
  }
}

/** A manifest is only what it says it is where it belongs: moved, copied and renamed ones are refused. */
function expectInItsPlace(manifest: RestorePointManifest, location: ManifestLocation, repositoryId: string): void {
  if (manifest.repositoryId !== repositoryId) throw new Error(`it is of repository ${manifest.repositoryId}`)
  if (manifest.vmId !== location.vmId) throw new Error(`it is of VM ${manifest.vmId}`)
  if (manifestFileName(manifest.takenAt, manifest.restorePointId) !== location.fileName) {
    throw new Error(`it is of restore point ${manifest.restorePointId}, taken at ${manifest.takenAt}`)
  }
  for (const disk of manifest.disks) {
    if (disk.layers === undefined || disk.layers.length === 0) throw new Error(`disk ${disk.diskId} has no layers`)
    for (const layer of disk.layers) {
      if (!isLayerOf(layer, manifest.vmId, disk.diskId)) throw new Error(`${layer} is no layer of disk ${disk.diskId}`)
    }
  }
}

/** Path of a manifest's file. */
export function pathOf(dir: string, location: ManifestLocation): string {
  return join(dir, folders.manifests, location.vmId, location.fileName)
}
