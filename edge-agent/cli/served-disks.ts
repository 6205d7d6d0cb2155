import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import { openRawFileSource } from '../block/raw-file-source.ts'
import type { EdgeAgentConfig } from '../config.ts'
import type { NbdExport } from '../nbd/server/nbd-export.ts'
import { zeroRangesOfRawFile } from '../qemu/image-map.ts'
import { verifiedSource } from '../repository/verified-source.ts'
import { openOwnRepository } from './own-repository.ts'

/** Disks that are to be served read-only, and what keeps them open. */
export interface ServedDisks extends AsyncDisposable {
  readonly exports: readonly NbdExport[]
}

/**
 * A raw file or a block device, under the name given or that of the file.
 * Rejects with `input.invalid`, `qemu.*` where its holes cannot be found out.
 */
export async function openServedFile(
  file: string,
  { name = path.basename(file), signal }: CallOptions & { readonly name?: string | undefined },
): Promise<ServedDisks> {
  const findZeroRanges = zeroRangesOfRawFile
  const source = await openRawFileSource(path.resolve(file), { signal, findZeroRanges })
  return {
    exports: [{ name, description: path.resolve(file), source }],
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}

export interface RestorePointWish extends CallOptions {
  readonly restorePointId: string
  /** Absent: all. */
  readonly diskIds?: readonly string[] | undefined
}

/**
 * The disks of a restore point of this agent's own repository, each under its id, every byte checked before it is served.
 * Rejects with `config.invalid`, `input.invalid` for a disk that is not there, `repository.*`.
 */
export async function openServedRestorePoint(
  config: EdgeAgentConfig,
  { restorePointId, diskIds, signal }: RestorePointWish,
): Promise<ServedDisks> {
  await using undo = new AsyncDisposableStack()
  const repository = undo.use(await openOwnRepository(config, { signal }))
  const reader = undo.use(await repository.openRestorePoint(restorePointId, { signal }))
  const { vmName, takenAt } = reader.sealed.manifest
  const known = [...reader.disks.keys()]
  for (const diskId of diskIds ?? []) {
    if (reader.disks.has(diskId)) continue
    const text = `restore point ${restorePointId} has no disk ${diskId}, it has ${known.join(', ')}`
    throw new PlatformError('input.invalid', text)
  }
  const exports = [...reader.disks]
    .filter(([diskId]) => diskIds?.includes(diskId) ?? true)
    .map(([diskId, { source, chunkIds }]) => {
      const verified = verifiedSource(source, { chunkIds, idKey: repository.idKey })
      return { name: diskId, description: `${vmName} of ${takenAt}, ${diskId}`, source: verified }
    })
  const owned = undo.move()
  return { exports, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}
