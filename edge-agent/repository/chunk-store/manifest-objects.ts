import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { restorePointNotFound } from '../repository-errors.ts'
import type { RestorePointManifest, SealedManifest } from '../restore-point-manifest.ts'
import type { ChunkContext } from './chunk-context.ts'
import { manifestKey, type ManifestPlace, parseManifestKey, prefixes } from './format/object-keys.ts'
import { encodeSealedManifest, parseSealedManifest } from './format/sealed-manifest.ts'
import { publishSigner } from './signer-objects.ts'
import { protectionOf } from './write/protection.ts'
import { putProtected } from './write/put-protected.ts'

/** Where manifests are, of one VM or of all, oldest first. */
export async function listManifests(
  { store }: Pick<ChunkContext, 'store'>,
  filter: { readonly vmId?: string },
  { signal }: CallOptions,
): Promise<ManifestPlace[]> {
  const places: ManifestPlace[] = []
  const prefix = filter.vmId === undefined ? prefixes.manifests : `${prefixes.manifests}${filter.vmId}/`
  for await (const page of store.list(prefix, { signal })) {
    for (const { key } of page) places.push(...[parseManifestKey(key) ?? []].flat())
  }
  return places.toSorted(byTime)
}

/** Rejects with `repository.manifest_invalid` where it cannot be trusted, `repository.restore_point_not_found`. */
export async function readManifest(
  context: Pick<ChunkContext, 'store' | 'publicKeys' | 'repositoryId' | 'keys'>,
  place: ManifestPlace,
  { signal }: CallOptions,
): Promise<SealedManifest> {
  try {
    const bytes = await context.store.get(manifestKey(place), { signal })
    return parseSealedManifest(bytes, place, context.publicKeys, context)
  } catch (error) {
    if (!(error instanceof PlatformError) || error.code !== 'storage.not_found') throw error
    throw restorePointNotFound(place.restorePointId)
  }
}

/**
 * Makes a restore point exist, and reads it back. All that it refers to is durable.
 * @param signal aborts when the writer may not seal any more
 */
export async function putManifest(
  context: ChunkContext,
  manifest: RestorePointManifest,
  { signal, generation }: CallOptions & { readonly generation: number },
): Promise<SealedManifest> {
  await publishSigner(context, { signal, generation })
  const bytes = encodeSealedManifest(manifest, context.signingKey, context)
  // Nothing is sealed that could not be opened again.
  parseSealedManifest(bytes, manifest, context.publicKeys, context)
  const protection = protectionOf(context.settings, generation)
  const key = manifestKey(manifest)
  await putProtected(context.store, key, bytes, { signal, protection })
  if (protection !== undefined) {
    const found = await context.store.immutability?.findRetention(key, { signal })
    if (found === undefined || found.retainUntil < protection.retainUntil) {
      const text = `the store does not retain the manifest until ${protection.retainUntil.toISOString()} as it was told`
      throw new PlatformError('storage.retention_refused', text)
    }
  }
  return await readManifest(context, manifest, { signal })
}

function byTime(left: ManifestPlace, right: ManifestPlace): number {
  if (left.takenAt !== right.takenAt) return left.takenAt < right.takenAt ? -1 : 1
  return left.restorePointId < right.restorePointId ? -1 : 1
}
