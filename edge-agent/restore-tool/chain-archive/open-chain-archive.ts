import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { openObjectStore } from '../../object-store/open-object-store.ts'
import { KeyStore } from '../../repository/chunk-store/keys/key-store.ts'
import { listSigners } from '../../repository/chunk-store/signer-objects.ts'
import type { ChainContext } from '../../repository/qcow2-chain/chain-context.ts'
import { layerSecretOf } from '../../repository/qcow2-chain/layer-key.ts'
import { createManifestStore } from '../../repository/qcow2-chain/manifest-store.ts'
import { createPlacementStore } from '../../repository/qcow2-chain/placement-store.ts'
import { readRepositoryDescriptor } from '../../repository/qcow2-chain/repository-descriptor.ts'
import { DESCRIPTOR_FILE } from '../../repository/qcow2-chain/repository-layout.ts'
import type { Archive } from '../archive.ts'
import { prepareKeyedHash } from '../keyed-hash.ts'
import type { SecretReader } from '../secret-reader.ts'
import { ChainArchive } from './chain-archive.ts'

const CHAIN_LAYERS_MAX = 32

/** Whether a directory says that it holds a repository of QCOW2 chains. */
export async function isChainRepository(directory: string): Promise<boolean> {
  const text = await readFile(path.join(directory, DESCRIPTOR_FILE), 'utf8').catch(() => '')
  return /"kind"\s*:\s*"qcow2-chain"/.test(text)
}

export interface ChainArchiveOptions {
  readonly directory: string
  readonly secret: SecretReader
  readonly ringIdentity?: string | undefined
}

/**
 * Opens a repository of QCOW2 chains with the keys that lie beside it (FORMAT.md, "Keys"). Nothing in it is changed.
 * Rejects with `repository.*`, `storage.*`, `input.invalid`; `repository.key_missing` where no kit was ever made for it.
 */
export async function openChainArchive(
  { directory, secret, ringIdentity }: ChainArchiveOptions,
  { signal }: CallOptions,
): Promise<Archive> {
  await using undo = new AsyncDisposableStack()
  const descriptor = await readRepositoryDescriptor(directory, { signal })
  const { repositoryId } = descriptor
  await using store = await openObjectStore({ kind: 'directory', directory }, { signal, readOnly: true })
  const identity = ringIdentity === undefined ? {} : { identity: ringIdentity }
  const keyStore = new KeyStore({ store, repositoryId })
  const { ring, damagedKeys } = await keyStore
    .load(await secret(repositoryId), { signal, ...identity })
    .catch(explained)
  undo.use(ring)
  await prepareKeyedHash(ring.idKey)
  const listed = await listSigners(store, { repositoryId, keys: ring }, { signal })
  const runtimeDir = await mkdtemp(path.join(tmpdir(), 'sendense-restore-'))
  undo.defer(async () => await rm(runtimeDir, { recursive: true, force: true }))
  const trustedPublicKeys = listed.signers.map(({ publicKey }) => publicKey)
  // Nothing is ever signed with it.
  const stores = { dir: directory, repositoryId, signingKey: generateSigningKey(), trustedPublicKeys }
  const layerKey = descriptor.encryption === undefined ? undefined : ring.epochKey(ring.newestEpoch)
  const context: ChainContext = {
    dir: directory,
    descriptor,
    manifests: createManifestStore(stores),
    placements: createPlacementStore(stores),
    idKey: ring.idKey,
    layerSecret: layerSecretOf(descriptor, layerKey),
    runtimeDir,
    chainLayersMax: CHAIN_LAYERS_MAX,
    clock: systemClock,
    logger: undefined,
    createImage: refuse,
    crashPoint: () => undefined,
  }
  const warnings = [...damagedKeys, ...listed.damagedKeys].map((key) => `${key} is damaged`)
  return new ChainArchive(context, warnings, undo.move())
}

async function refuse(): Promise<never> {
  throw new PlatformError('storage.read_only', 'the repository was opened to be read only')
}

function explained(error: unknown): never {
  if (!isPlatformError(error, 'repository.key_missing')) throw error
  const text = `${error.message}: no recovery kit was made for it. Its keys are in the state of its agent only`
  throw new PlatformError('repository.key_missing', text, { cause: error })
}
