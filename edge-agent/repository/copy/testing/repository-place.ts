import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { exportSigningKey, generateSigningKey, importSigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { openLocalStore } from '../../../object-store/local/local-store.ts'
import { ObjectStoreConfig, parseStoreConfig } from '../../../object-store/object-store-config.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { openObjectStore } from '../../../object-store/open-object-store.ts'
import { createMemoryPackCatalogue } from '../../chunk-store/index/memory-pack-catalogue.ts'
import { KeyRing } from '../../chunk-store/keys/key-ring.ts'
import { openChunkRepository } from '../../chunk-store/open-chunk-repository.ts'
import { makeTestChunkRepository } from '../../chunk-store/test-chunk-repository.ts'
import { openQcow2Repository } from '../../qcow2-chain/qcow2-repository.ts'
import { createQcow2Repository } from '../../qcow2-chain/repository-descriptor.ts'
import type { Repository } from '../../repository.ts'
import { call } from '../../scenario-guest.ts'

const PACK_BYTES = 256 * 1024

/** A repository, and all that another process needs to open it too. */
export const RepositoryPlace = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('chain'),
    dir: z.string(),
    runtimeDir: z.string(),
    repositoryId: z.uuid(),
    idKey: z.base64(),
    signingKey: z.string(),
  }),
  z.strictObject({
    kind: z.literal('chunks'),
    store: ObjectStoreConfig,
    ring: z.base64(),
    agentId: z.uuid(),
    signingKey: z.string(),
  }),
])
export type RepositoryPlace = z.infer<typeof RepositoryPlace>

/** Makes an empty repository below `root`, which is there. */
export async function makePlace(
  kind: RepositoryPlace['kind'],
  root: string,
  chunkSizeBytes: number,
): Promise<RepositoryPlace> {
  const dir = path.join(root, `${kind}-${randomBytes(4).toString('hex')}`)
  if (kind === 'chain') {
    const repositoryId = randomUUID()
    await createQcow2Repository({ dir, repositoryId, chunkSizeBytes }, call())
    const signingKey = exportSigningKey(generateSigningKey())
    const idKey = randomBytes(32).toString('base64')
    return { kind, dir, runtimeDir: path.join(root, 'run'), repositoryId, idKey, signingKey }
  }
  await mkdir(dir)
  await openLocalStore({ directory: dir, create: { worm: false }, ...call() })
  return await makeChunkPlace(parseStoreConfig({ kind: 'directory', directory: dir }), chunkSizeBytes)
}

/** Makes an empty chunk repository in a store that is there, and empty. */
export async function makeChunkPlace(store: ObjectStoreConfig, chunkSizeBytes: number): Promise<RepositoryPlace> {
  const openStore = async (): Promise<ObjectStore> => await openObjectStore(store, call())
  const made = await makeTestChunkRepository(openStore, call(), undefined, { chunkSizeBytes })
  const signingKey = exportSigningKey(generateSigningKey())
  return { kind: 'chunks', store, ring: made.keys.toBytes().toString('base64'), agentId: made.agentId, signingKey }
}

/** Opens it; each step of its sealing is told. Chunk repositories can be opened by the mover's threads too. */
export async function openPlace(
  place: RepositoryPlace,
  { onStep = () => undefined }: { readonly onStep?: (step: string) => void } = {},
): Promise<Repository> {
  const signingKey = importSigningKey(place.signingKey)
  if (place.kind === 'chain') {
    const { dir, repositoryId, runtimeDir, idKey } = place
    const keys = { idKey: Buffer.from(idKey, 'base64'), signingKey, trustedPublicKeys: [] }
    const where = { dir, expectedRepositoryId: repositoryId, runtimeDir }
    return await openQcow2Repository({ ...where, ...keys, clock: systemClock, crashPoint: onStep }, call())
  }
  return await openChunkRepository(
    {
      store: await openObjectStore(place.store, call()),
      storeConfig: place.store,
      keys: KeyRing.parse(Buffer.from(place.ring, 'base64')),
      agentId: place.agentId,
      signingKey,
      trustedPublicKeys: [],
      catalogue: createMemoryPackCatalogue(),
      settings: { packSizeBytes: PACK_BYTES },
      crashPoint: onStep,
    },
    call(),
  )
}
