import path from 'node:path'
import { EnrolmentAnswer } from '@sendense/shared/contracts/enrolment.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { readOptionalFile } from '@sendense/shared/runtime/secret-file.ts'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import type { EdgeAgentConfig } from '../config.ts'
import { chunkRepositoryEntries } from '../jobs/chunk-repositories.ts'
import { findLocalRepository } from '../jobs/local-repository.ts'
import type { RepositoryEntry } from '../jobs/repository-registry.ts'
import { createMemoryPackCatalogue } from '../repository/chunk-store/index/memory-pack-catalogue.ts'

/**
 * One of the repositories of the agent whose settings these are, which may be using it at the same time.
 * @param wanted its id, its name, its place as lists show it, or the directory of a local one
 * Rejects with `config.invalid` where there is none, or more than one.
 */
export async function findRepository(config: EdgeAgentConfig, wanted: string): Promise<RepositoryEntry> {
  const entries = [...(await findLocal(config, wanted)), ...(await findOnStores(config, wanted))]
  const [found, another] = entries
  if (found === undefined) {
    const text = `the agent whose state is in ${config.stateDir} has no repository ${wanted}`
    throw new PlatformError('config.invalid', text)
  }
  if (another === undefined) return found
  const ids = entries.map(({ record }) => record.repositoryId).join(', ')
  throw new PlatformError('config.invalid', `${wanted} may be one of ${ids}: name it by its id`)
}

/** The repository of the settings, or the one in the directory `wanted`. */
async function findLocal({ stateDir, runtimeDir, repository }: EdgeAgentConfig, wanted: string) {
  const key = await readOptionalFile(path.join(stateDir, 'identity.key'))
  if (key === undefined) return []
  const dirs = new Set([path.resolve(wanted), ...(repository === undefined ? [] : [repository.dir])])
  const found: RepositoryEntry[] = []
  for (const dir of dirs) {
    const entry = await findLocalRepository({
      stateDir,
      dir,
      runtimeDir: path.join(runtimeDir, 'repositories'),
      signingKey: importSigningKey(key),
      clock: systemClock,
      logger: createLogger('sendense-edge', 'silent'),
    })
    if (entry !== undefined && (dir === path.resolve(wanted) || isNamed(entry, wanted))) found.push(entry)
  }
  return found
}

async function findOnStores({ stateDir }: EdgeAgentConfig, wanted: string): Promise<RepositoryEntry[]> {
  const key = await readOptionalFile(path.join(stateDir, 'identity.key'))
  if (key === undefined) return []
  const entries = await chunkRepositoryEntries({
    stateDir,
    agentId: await readAgentId(stateDir),
    signingKey: importSigningKey(key),
    // The agent's own cache is in its database, which need not run: what is in the store counts.
    packs: () => createMemoryPackCatalogue(),
    clock: systemClock,
    logger: createLogger('sendense-edge', 'silent'),
  })
  return entries.filter((entry) => isNamed(entry, wanted))
}

function isNamed({ record: { repositoryId, name, location } }: RepositoryEntry, wanted: string): boolean {
  return [repositoryId, name, location].includes(wanted)
}

/** Of an agent that is not enrolled yet any. */
async function readAgentId(stateDir: string): Promise<string> {
  const text = await readOptionalFile(path.join(stateDir, 'enrolment.json'))
  return text === undefined ? newId() : EnrolmentAnswer.parse(JSON.parse(text)).agentId
}
