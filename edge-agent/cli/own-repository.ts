import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { readOptionalFile } from '@sendense/shared/runtime/secret-file.ts'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { EdgeAgentConfig } from '../config.ts'
import { findLocalRepository } from '../jobs/local-repository.ts'
import type { Repository } from '../repository/repository.ts'

/**
 * The repository of the agent whose settings these are, which may be using it at the same time.
 * Rejects with `config.invalid` where it has none, `repository.*`.
 */
export async function openOwnRepository(config: EdgeAgentConfig, { signal }: CallOptions): Promise<Repository> {
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
