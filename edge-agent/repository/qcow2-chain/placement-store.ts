import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DiskId, Hash256, Instant } from '@sendense/shared/contracts/identifiers.ts'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { SigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import type { SealedManifest } from '../restore-point-manifest.ts'
import { makeDirectoryDurably, writeDurably } from './durable-file.ts'
import { namesIn } from './names-in.ts'
import { folders, isLayerOf, parsePlacementFileName, placementFileName } from './repository-layout.ts'
import { openSealedBytes, sealBytes, type SealKeys, sealKeysOf } from './sealed-file.ts'

/** A placement that is superseded while it is read is looked for again, so often at most. */
const LOOKS_MAX = 10

/**
 * Where the content of one restore point lies since layers were merged. It says nothing of what the content is: that its
 * manifest does, which stays as it was sealed. FORMAT.md, "Placements".
 */
export const RestorePointPlacement = z.strictObject({
  version: z.literal(1),
  repositoryId: z.uuid(),
  vmId: z.uuid(),
  restorePointId: z.uuid(),
  /** Of the manifest whose `layers` it takes the place of. */
  manifestHash: Hash256,
  /** The highest of a restore point holds; from 1 on. */
  revision: z.int().positive(),
  placedAt: Instant,
  disks: z
    .array(z.strictObject({ diskId: DiskId, layers: z.array(z.string().max(500)).min(1).max(64) }))
    .min(1)
    .max(256),
  /** What it was made for: any other chain that has these layers reads the same with the new one in their place. */
  merge: z.strictObject({
    diskId: DiskId,
    replaces: z.array(z.string().max(500)).min(1).max(64),
    layer: z.string().max(500),
  }),
})
export type RestorePointPlacement = z.infer<typeof RestorePointPlacement>

/** Where a placement lies; not yet read. */
export interface PlacementLocation {
  readonly vmId: string
  readonly restorePointId: string
  readonly revision: number
}

export interface FoundPlacement {
  /** 0: the manifest's own layers hold. */
  readonly revision: number
  readonly layers: PlacedLayers
  /** What the placement was made for; absent for revision 0. */
  readonly merge?: RestorePointPlacement['merge']
}

/** Layers of each disk, newest first, relative to the repository. */
export type PlacedLayers = ReadonlyMap<string, readonly string[]>

/** The placements of one repository. Errors of the system pass untranslated. */
export interface PlacementStore {
  /** All of a VM, superseded ones too. */
  list(vmId: string): Promise<PlacementLocation[]>
  /**
   * Where the layers of a restore point are now, and the revision that says so; 0: its own manifest.
   * Rejects with `repository.manifest_invalid` where the newest placement cannot be trusted: older ones name layers that
   * may be gone.
   */
  find(sealed: SealedManifest): Promise<FoundPlacement>
  /**
   * Makes a placement hold. Every layer it names must be durable.
   * @param onWritten called when the content is durable under its temporary name
   */
  seal(placement: RestorePointPlacement, temporaryPath: string, onWritten: () => void): Promise<void>
  remove(location: PlacementLocation): Promise<void>
}

export function createPlacementStore(options: {
  readonly dir: string
  readonly repositoryId: string
  readonly signingKey: SigningKey
  readonly trustedPublicKeys: readonly string[]
}): PlacementStore {
  const { dir, repositoryId } = options
  const keys = sealKeysOf(options.signingKey, options.trustedPublicKeys)
  const pathOf = ({ vmId, restorePointId, revision }: PlacementLocation): string =>
    join(dir, folders.placements, vmId, placementFileName(restorePointId, revision))
  const list = async (vmId: string): Promise<PlacementLocation[]> =>
    (await namesIn(join(dir, folders.placements, vmId))).flatMap((name) => {
      const parsed = parsePlacementFileName(name)
      return parsed === undefined ? [] : [{ vmId, ...parsed }]
    })
  const open = (bytes: Uint8Array, sealed: SealedManifest, revision: number): FoundPlacement =>
    openPlacement(bytes, { sealed, revision, repositoryId, keys })
  return {
    list,
    find: async (sealed) => {
      const { vmId, restorePointId } = sealed.manifest
      for (let look = 0; look < LOOKS_MAX; look += 1) {
        const own = (await list(vmId)).filter((location) => location.restorePointId === restorePointId)
        const revision = Math.max(0, ...own.map((location) => location.revision))
        if (revision === 0) return { revision, layers: sealedLayersOf(sealed) }
        const bytes = await readUnlessGone(pathOf({ vmId, restorePointId, revision }))
        if (bytes !== undefined) return open(bytes, sealed, revision)
      }
      throw untrusted(sealed, 'it does not stay where it is', undefined)
    },
    seal: async (placement, temporaryPath, onWritten) => {
      const bytes = sealBytes(payloadTypes.restorePointPlacement, RestorePointPlacement.parse(placement), keys)
      const path = pathOf(placement)
      await makeDirectoryDurably(dir, dirname(path))
      await writeDurably(path, bytes, temporaryPath, onWritten)
    },
    remove: async (location) => await rm(pathOf(location), { force: true }),
  }
}

/** The layers as the manifest has them. */
export function sealedLayersOf({ manifest }: SealedManifest): PlacedLayers {
  return new Map(manifest.disks.map((disk) => [disk.diskId, disk.layers ?? []]))
}

interface OpenPlacement {
  readonly sealed: SealedManifest
  readonly revision: number
  readonly repositoryId: string
  readonly keys: SealKeys
}

function openPlacement(bytes: Uint8Array, { sealed, revision, repositoryId, keys }: OpenPlacement): FoundPlacement {
  const { manifest, manifestHash } = sealed
  const { vmId, restorePointId } = manifest
  try {
    const { value } = openSealedBytes(bytes, payloadTypes.restorePointPlacement, keys)
    const placement = RestorePointPlacement.parse(value)
    const wanted = { repositoryId, vmId, restorePointId, manifestHash, revision }
    for (const key of ['repositoryId', 'vmId', 'restorePointId', 'manifestHash', 'revision'] as const) {
      if (placement[key] !== wanted[key]) throw new Error(`its ${key} is ${placement[key]}, not ${wanted[key]}`)
    }
    const placed = new Map(placement.disks.map((disk) => [disk.diskId, disk.layers]))
    for (const { diskId } of manifest.disks) {
      const layers = placed.get(diskId)
      if (layers === undefined || placed.size !== manifest.disks.length) throw new Error('it is of other disks')
      const stranger = layers.find((layer) => !isLayerOf(layer, vmId, diskId))
      if (stranger !== undefined) throw new Error(`${stranger} is no layer of disk ${diskId}`)
    }
    return { revision, layers: placed, merge: placement.merge }
  } catch (error) {
    throw untrusted(sealed, error instanceof Error ? error.message : String(error), error)
  }
}

function untrusted({ manifest }: SealedManifest, why: string, cause: unknown): PlatformError {
  const { restorePointId, vmId } = manifest
  const text = `where the layers of restore point ${restorePointId} are cannot be trusted: ${why}`
  return new PlatformError('repository.manifest_invalid', text.slice(0, 1000), {
    cause,
    details: { restorePointId, vmId },
  })
}

async function readUnlessGone(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
