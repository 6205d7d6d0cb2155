import { createHash } from 'node:crypto'
import { payloadTypes, SignedEnvelope } from '@sendense/shared/contracts/signed-envelope.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { openEnvelope, type SigningKey, signEnvelope } from '@sendense/shared/runtime/signing.ts'
import { RestorePointManifest, type SealedManifest } from '../../restore-point-manifest.ts'
import { type OpenContext, parseUtf8Json, type SealContext, sealJson } from './object-context.ts'
import { manifestKey, type ManifestPlace } from './object-keys.ts'
import { objectKinds, openObject } from './sealed-object.ts'

/** The object for `manifestKey(manifest)`: signed, then encrypted. Throws `input.invalid` where it is too large. */
export function encodeSealedManifest(
  manifest: RestorePointManifest,
  signingKey: SigningKey,
  context: SealContext,
): Uint8Array {
  const envelope = signEnvelope(payloadTypes.restorePointManifest, RestorePointManifest.parse(manifest), signingKey)
  const sized = SignedEnvelope.safeParse(envelope)
  if (!sized.success) throw new PlatformError('input.invalid', `the manifest is too large: ${sized.error.message}`)
  return sealJson(placeOf(manifest), envelope, context)
}

/**
 * @param place what the object's key says
 * @param publicKeys SPKI DER, base64, by key id: keys whose manifests are believed
 * Throws `repository.manifest_invalid`, `repository.key_missing`, `repository.format_unsupported`.
 */
export function parseSealedManifest(
  bytes: Uint8Array,
  place: ManifestPlace,
  publicKeys: ReadonlyMap<string, string>,
  context: OpenContext,
): SealedManifest {
  try {
    const envelope = openEnvelopeObject(bytes, place, context)
    const publicKey = publicKeys.get(envelope.signature.keyId)
    if (publicKey === undefined) throw new Error(`it is signed by the unknown key ${envelope.signature.keyId}`)
    const signed = openEnvelope(JSON.stringify(envelope), payloadTypes.restorePointManifest, publicKey)
    return sealedOf(envelope, signed, place, context)
  } catch (error) {
    throw manifestInvalid(place, error)
  }
}

/**
 * The same without a look at the signature: that who wrote it held the keys of the repository is proven all the same. For
 * who has lost all that says whose signatures are genuine.
 * @returns besides, whose signature it says it has
 * Throws as `parseSealedManifest`.
 */
export function parseManifestOfAnySigner(
  bytes: Uint8Array,
  place: ManifestPlace,
  context: OpenContext,
): SealedManifest & { readonly signerKeyId: string } {
  try {
    const envelope = openEnvelopeObject(bytes, place, context)
    if (envelope.payloadType !== payloadTypes.restorePointManifest) throw new Error(`it is ${envelope.payloadType}`)
    const payload = parseUtf8Json(Buffer.from(envelope.payload, 'base64'))
    return { ...sealedOf(envelope, payload, place, context), signerKeyId: envelope.signature.keyId }
  } catch (error) {
    throw manifestInvalid(place, error)
  }
}

function openEnvelopeObject(bytes: Uint8Array, place: ManifestPlace, context: OpenContext): SignedEnvelope {
  const content = openObject(bytes, { ...placeOf(place), repositoryId: context.repositoryId }, context.keys)
  return SignedEnvelope.parse(parseUtf8Json(content))
}

function sealedOf(
  envelope: SignedEnvelope,
  payload: unknown,
  place: ManifestPlace,
  context: OpenContext,
): SealedManifest {
  const manifest = RestorePointManifest.parse(payload)
  expectInItsPlace(manifest, place, context.repositoryId)
  const bytes = Buffer.from(envelope.payload, 'base64')
  return { manifest, manifestHash: createHash('sha256').update(bytes).digest('hex') }
}

function expectInItsPlace(manifest: RestorePointManifest, place: ManifestPlace, repositoryId: string): void {
  if (manifest.repositoryId !== repositoryId) throw new Error(`it is of repository ${manifest.repositoryId}`)
  if (manifestKey(manifest) !== manifestKey(place)) throw new Error(`it is ${manifestKey(manifest)}`)
  for (const disk of manifest.disks) {
    if (disk.layers !== undefined) throw new Error(`disk ${disk.diskId} has layers, which chunk repositories have not`)
  }
}

/** Missing keys and later versions say nothing against the manifest: they pass. */
function manifestInvalid(place: ManifestPlace, error: unknown): unknown {
  const isPassing =
    error instanceof PlatformError &&
    (error.code === 'repository.key_missing' || error.code === 'repository.format_unsupported')
  if (isPassing) return error
  const why = error instanceof Error ? error.message : String(error)
  const text = `the manifest of restore point ${place.restorePointId} cannot be trusted: ${why}`
  return new PlatformError('repository.manifest_invalid', text.slice(0, 1000), {
    cause: error,
    details: { restorePointId: place.restorePointId, vmId: place.vmId },
  })
}

function placeOf(manifest: ManifestPlace) {
  return { kind: objectKinds.manifest, objectKey: manifestKey(manifest) }
}
