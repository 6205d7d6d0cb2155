import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { readOptionalFile } from '@sendense/shared/runtime/secret-file.ts'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../block/block-source.ts'
import { openRawFileSource } from '../block/raw-file-source.ts'
import type { EdgeAgentConfig } from '../config.ts'
import { findLocalRepository } from '../jobs/local-repository.ts'
import type { NbdExport } from '../nbd/server/nbd-export.ts'
import { zeroRangesOfRawFile } from '../qemu/image-map.ts'
import type { Repository } from '../repository/repository.ts'
import { verifiedSource } from '../repository/verified-source.ts'

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

async function openOwnRepository(config: EdgeAgentConfig, { signal }: CallOptions): Promise<Repository> {
  const { stateDir, repository } = config
  if (repository === undefined) {
    throw new PlatformError('config.invalid', 'SENDENSE_EDGE_REPOSITORY_DIR does not say where the repository is')
  }
  const key = await readOptionalFile(path.join(stateDir, 'identity.key'))
  const entry =
    key === undefined
      ? undefined
      : await findLocalRepository({
          stateDir,
          dir: repository.dir,
          runtimeDir: path.join(config.runtimeDir, 'repositories'),
          signingKey: importSigningKey(key),
          clock: systemClock,
          logger: createLogger('sendense-edge', 'silent'),
        })
  if (entry !== undefined) return await entry.open({ signal })
  const text = `the agent whose state is in ${stateDir} has no repository in ${repository.dir}`
  throw new PlatformError('config.invalid', text)
}
