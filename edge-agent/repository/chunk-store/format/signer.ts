import { Instant } from '@sendense/shared/contracts/identifiers.ts'
import { keyIdOf } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { type OpenContext, openAndParse, parseUtf8Json, type SealContext, sealJson } from './object-context.ts'
import { signerKey } from './object-keys.ts'
import { objectKinds } from './sealed-object.ts'

/**
 * Whose signatures are believed in a repository. It is sealed with the repository's keys: only who holds the key ring can
 * add one, and who has nothing but the storage and a recovery kit learns from it which manifests are genuine.
 */
export const Signer = z
  .strictObject({
    version: z.literal(1),
    /** Of the public key: its first 32 digits of SHA-256. */
    keyId: z.string(),
    /** SPKI DER, base64. */
    publicKey: z.base64().max(200),
    /** Absent: of an agent that did not know it then. */
    agentId: z.uuid().optional(),
    addedAt: Instant,
  })
  .refine(({ keyId, publicKey }) => keyIdOf(publicKey) === keyId, 'the id of its key')
export type Signer = z.infer<typeof Signer>

/** The object for `signerKey`. */
export function encodeSigner(signer: Signer, context: SealContext): Uint8Array {
  return sealJson(placeOf(signer), Signer.parse(signer), context)
}

/** Throws `repository.object_corrupt`, `repository.key_missing`, `repository.format_unsupported`. */
export function parseSigner(bytes: Uint8Array, place: { readonly keyId: string }, context: OpenContext): Signer {
  return openAndParse(bytes, placeOf(place), context, (content) => {
    const signer = Signer.parse(parseUtf8Json(content))
    if (signer.keyId !== place.keyId) throw new Error(`it is signer ${signer.keyId}`)
    return signer
  })
}

function placeOf({ keyId }: { readonly keyId: string }) {
  return { kind: objectKinds.signer, objectKey: signerKey(keyId) }
}
