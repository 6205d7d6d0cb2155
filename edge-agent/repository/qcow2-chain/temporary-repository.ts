import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { Repository } from '../repository.ts'
import { openQcow2Repository, type Qcow2RepositoryOptions } from './qcow2-repository.ts'
import { createQcow2Repository } from './repository-descriptor.ts'

/** A repository of its own in a temporary directory, for tests. Disposing removes it. */
export interface TemporaryRepository extends AsyncDisposable {
  readonly dir: string
  readonly options: Qcow2RepositoryOptions
  open(options?: Partial<Qcow2RepositoryOptions>): Promise<Repository>
}

export async function makeTemporaryRepository(
  call: CallOptions,
  place: { readonly dir?: string; readonly chunkSizeBytes?: number; readonly layerKey?: Uint8Array } = {},
): Promise<TemporaryRepository> {
  const root = await mkdtemp(join(tmpdir(), 'sd-'))
  const dir = place.dir ?? join(root, 'repository')
  const repositoryId = randomUUID()
  const chunkSizeBytes = place.chunkSizeBytes ?? 64 * 1024
  const layerKey = place.layerKey === undefined ? {} : { layerKey: place.layerKey }
  await createQcow2Repository({ dir, repositoryId, chunkSizeBytes, ...layerKey }, call)
  const options: Qcow2RepositoryOptions = {
    dir,
    expectedRepositoryId: repositoryId,
    idKey: randomBytes(32),
    ...layerKey,
    signingKey: generateSigningKey(),
    trustedPublicKeys: [],
    runtimeDir: join(root, 'run'),
    clock: systemClock,
  }
  return {
    dir,
    options,
    open: async (others = {}) =>
      await openQcow2Repository({ ...options, ...others }, { signal: AbortSignal.timeout(60_000) }),
    [Symbol.asyncDispose]: async () => await rm(root, { recursive: true, force: true }),
  }
}
