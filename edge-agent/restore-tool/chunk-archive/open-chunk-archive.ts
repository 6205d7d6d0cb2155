import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { readOnlyStore } from '../../object-store/layers/read-only-store.ts'
import { retryingStore } from '../../object-store/layers/retrying-store.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import type { ChunkStoreDescriptor } from '../../repository/chunk-store/format/chunk-store-descriptor.ts'
import { hashIds } from '../../repository/chunk-store/format/registered-ids.ts'
import type { KeyRing } from '../../repository/chunk-store/keys/key-ring.ts'
import { KeyStore } from '../../repository/chunk-store/keys/key-store.ts'
import { listSigners } from '../../repository/chunk-store/signer-objects.ts'
import type { Archive } from '../archive.ts'
import { prepareKeyedHash } from '../keyed-hash.ts'
import type { SecretReader } from '../secret-reader.ts'
import { ChunkArchive } from './chunk-archive.ts'
import { describeStore } from './describe-store.ts'

const NO_SIGNERS =
  'nothing says whose signatures are genuine; --accept-unknown-signers believes all manifests made with the keys of the repository'

export interface ChunkArchiveOptions {
  /** The archive's from now on, also where opening fails. Nothing in it is changed. */
  readonly store: ObjectStore
  readonly secret: SecretReader
  /** Which key ring is meant, where the store holds several; see KeyRing.identity. */
  readonly ringIdentity?: string | undefined
  /** Believes manifests whose signer the repository does not know; see Signer. */
  readonly anySigner: boolean
}

/** Rejects with `repository.*`, `storage.*`, and `input.invalid` where the secret cannot be read. */
export async function openChunkArchive(options: ChunkArchiveOptions, { signal }: CallOptions): Promise<Archive> {
  await using undo = new AsyncDisposableStack()
  const store = undo.use(retryingStore(readOnlyStore(options.store)))
  const warnings: string[] = []
  const descriptor = await describeStore(store, warnings, { signal })
  const { repositoryId } = descriptor
  if (descriptor.hash !== hashIds.keyedBlake3) {
    throw new PlatformError('repository.format_unsupported', `repository ${repositoryId} uses hash ${descriptor.hash}`)
  }
  const keys = undo.use(await loadKeys(store, descriptor, options, warnings, { signal }))
  await prepareKeyedHash(keys.idKey)
  const listed = await listSigners(store, { repositoryId, keys }, { signal })
  for (const key of listed.damagedKeys) warnings.push(`${key} is damaged: it says whose signatures are genuine`)
  if (listed.signers.length === 0 && !options.anySigner) warnings.push(NO_SIGNERS)
  const archive = new ChunkArchive({
    store,
    descriptor,
    keys,
    publicKeys: new Map(listed.signers.map(({ keyId, publicKey }) => [keyId, publicKey])),
    anySigner: options.anySigner,
    warnings,
  })
  undo.move()
  return archive
}

async function loadKeys(
  store: ObjectStore,
  { repositoryId }: ChunkStoreDescriptor,
  { secret, ringIdentity }: ChunkArchiveOptions,
  warnings: string[],
  { signal }: CallOptions,
): Promise<KeyRing> {
  const keyStore = new KeyStore({ store, repositoryId })
  const read = await secret(repositoryId)
  const identity = ringIdentity === undefined ? {} : { identity: ringIdentity }
  try {
    const { ring, damagedKeys, missingKeys } = await keyStore.load(read, { signal, ...identity })
    for (const key of damagedKeys) warnings.push(`${key} is damaged; the keys were read from others`)
    for (const key of missingKeys) warnings.push(`${key} is missing: somebody else's passphrase or kit may not open it`)
    return ring
  } catch (error) {
    if (!isPlatformError(error, 'repository.key_untrusted') || ringIdentity !== undefined) throw error
    throw new PlatformError(error.code, `${error.message}; name the right one with --ring-identity`, { cause: error })
  }
}
