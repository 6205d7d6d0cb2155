import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NewBackup, SealFacts } from './repository.ts'
import { type ManifestDisk, RestorePointManifest, type SealedManifest } from './restore-point-manifest.ts'

/** What only the repository knows of a disk once it is stored. */
export type StoredDisk = Pick<ManifestDisk, 'pages' | 'storedBytes'> & Partial<Pick<ManifestDisk, 'layers'>>

export interface NewManifestParts {
  readonly repositoryId: string
  readonly chunkSizeBytes: number
  readonly backup: NewBackup
  readonly parent: SealedManifest | undefined
  readonly facts: SealFacts
  readonly stored: ReadonlyMap<string, StoredDisk>
  readonly sealedAt: Date
  /** Until when the storage itself says that it keeps all of it. Absent: it promises nothing. */
  readonly protectedUntil?: Date
}

/**
 * The manifest of a restore point from what the caller says of it and what the repository stored.
 * @throws PlatformError `input.invalid` where the facts are of other disks or not as a manifest must be
 */
export function newManifest(parts: NewManifestParts): RestorePointManifest {
  const { backup, facts, parent } = parts
  expectSameDisks(backup, facts)
  const parsed = RestorePointManifest.safeParse({
    ...facts,
    version: 1,
    repositoryId: parts.repositoryId,
    restorePointId: backup.restorePointId,
    vmId: backup.vmId,
    ...(parent === undefined
      ? {}
      : { parentRestorePointId: parent.manifest.restorePointId, parentManifestHash: parent.manifestHash }),
    sealedAt: parts.sealedAt.toISOString(),
    ...(parts.protectedUntil === undefined ? {} : { protectedUntil: parts.protectedUntil.toISOString() }),
    disks: facts.disks.map((disk) => {
      const stored = parts.stored.get(disk.diskId)
      const asked = backup.disks.find((candidate) => candidate.diskId === disk.diskId)
      assert(stored !== undefined && asked !== undefined)
      return { ...disk, ...stored, sizeBytes: asked.sizeBytes, chunkSizeBytes: parts.chunkSizeBytes }
    }),
  })
  if (!parsed.success) {
    throw new PlatformError('input.invalid', `these are no facts of a restore point: ${parsed.error.message}`, {
      cause: parsed.error,
    })
  }
  return parsed.data
}

function expectSameDisks(backup: NewBackup, facts: SealFacts): void {
  const asked = backup.disks.map(idAndMode).toSorted(byText)
  const sealed = facts.disks.map(idAndMode).toSorted(byText)
  if (!isDeepStrictEqual(asked, sealed)) {
    const text = `the facts are of ${sealed.join(', ')}, the backup was opened for ${asked.join(', ')}`
    throw new PlatformError('input.invalid', text)
  }
}

function idAndMode(disk: { readonly diskId: string; readonly mode: string }): string {
  return `${disk.diskId} (${disk.mode})`
}

function byText(a: string, b: string): number {
  return a < b ? -1 : 1
}
