import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import type { ChunkContext } from './chunk-context.ts'
import type { OpenContext } from './format/object-context.ts'
import { parseSignerKey, prefixes, signerKey } from './format/object-keys.ts'
import { encodeSigner, parseSigner, type Signer } from './format/signer.ts'
import { protectionOf } from './write/protection.ts'
import { putProtected } from './write/put-protected.ts'

/** Nobody has so many agents: who puts more there does not get all of them read. */
const SIGNERS_MAX = 10_000

/**
 * Makes sure that the repository itself says whose key seals its manifests, before the first of them is there.
 * Rejects with `storage.*`.
 */
export async function publishSigner(
  context: ChunkContext,
  { signal, generation }: CallOptions & { readonly generation: number },
): Promise<void> {
  const { store, signingKey, agentId, clock } = context
  const { keyId, publicKey } = signingKey
  const protection = protectionOf(context.settings, generation)
  if ((await store.find(signerKey(keyId), { signal })) !== undefined) {
    if (protection !== undefined) await keepAsLong(context, { signal, retainUntil: protection.retainUntil })
    return
  }
  const signer: Signer = { version: 1, keyId, publicKey, agentId, addedAt: clock.now().toISOString() }
  await putProtected(store, signerKey(keyId), encodeSigner(signer, context), { signal, protection })
}

/** It is needed for as long as the last manifest that it verifies is retained. */
async function keepAsLong(
  { store, signingKey, settings }: ChunkContext,
  { signal, retainUntil }: CallOptions & { readonly retainUntil: Date },
): Promise<void> {
  const { immutability } = store
  const mode = settings.protection?.mode
  if (immutability === undefined || mode === undefined) return
  const key = signerKey(signingKey.keyId)
  const known = await immutability.findRetention(key, { signal })
  if (known !== undefined && known.retainUntil >= retainUntil) return
  await immutability.setRetention(key, { mode, retainUntil }, { signal })
}

/** The signers of a repository, and the keys of objects that say nothing that could be believed. */
export interface ListedSigners {
  readonly signers: readonly Signer[]
  readonly damagedKeys: readonly string[]
}

/** Rejects with `storage.*`. */
export async function listSigners(
  store: ObjectStore,
  context: OpenContext,
  { signal }: CallOptions,
): Promise<ListedSigners> {
  const signers: Signer[] = []
  const damagedKeys: string[] = []
  let count = 0
  for await (const page of store.list(prefixes.signers, { signal })) {
    for (const { key } of page) {
      const place = parseSignerKey(key)
      count += 1
      if (place === undefined || count > SIGNERS_MAX) continue
      try {
        signers.push(parseSigner(await store.get(key, { signal }), place, context))
      } catch (error) {
        signal.throwIfAborted()
        if (!isPlatformError(error) || !error.code.startsWith('repository.')) throw error
        damagedKeys.push(key)
      }
    }
  }
  return { signers, damagedKeys }
}
