import { z } from 'zod'
import { Instant } from './identifiers.ts'

/**
 * Signature over exact bytes, as DSSE does it (https://github.com/secure-systems-lab/dsse, protocol.md):
 * Ed25519 over `"DSSEv1" SP len(type) SP type SP len(payload) SP payload`. Never over canonical JSON.
 */
export const SignedEnvelope = z.strictObject({
  payloadType: z.string().max(100),
  /** Base64 of UTF-8 JSON. */
  payload: z.base64().max(16 * 1024 * 1024),
  signature: z.strictObject({ keyId: z.string().max(128), value: z.base64().max(128) }),
  /** The chain from a pinned root to `keyId`, where that key is not pinned itself. */
  delegation: z
    .strictObject({
      payload: z.base64().max(8192),
      signature: z.strictObject({ keyId: z.string().max(128), value: z.base64().max(128) }),
    })
    .optional(),
})
export type SignedEnvelope = z.infer<typeof SignedEnvelope>

export const payloadTypes = {
  cloudMessage: 'application/vnd.sendense.cloud-message.v1+json',
  agentMessage: 'application/vnd.sendense.agent-message.v1+json',
  keyDelegation: 'application/vnd.sendense.key-delegation.v1+json',
  restorePointManifest: 'application/vnd.sendense.restore-point-manifest.v1+json',
  restorePointPlacement: 'application/vnd.sendense.restore-point-placement.v1+json',
} as const
export type PayloadType = (typeof payloadTypes)[keyof typeof payloadTypes]

/** What a root key signs to lend an online key some classes for some time. */
export const KeyDelegation = z.strictObject({
  version: z.literal(1),
  keyId: z.string().max(128),
  /** Ed25519 public key, SPKI DER, base64. */
  publicKey: z.base64().max(512),
  classes: z.array(z.enum(['read', 'operate', 'sensitive', 'destructive'])).min(1),
  notBefore: Instant,
  notAfter: Instant,
})
export type KeyDelegation = z.infer<typeof KeyDelegation>

/** The keys an agent pins at enrolment. `version` only grows. */
export const TrustRoot = z.strictObject({
  version: z.int().positive(),
  keys: z
    .array(z.strictObject({ keyId: z.string().max(128), publicKey: z.base64().max(512) }))
    .min(1)
    .max(8),
})
export type TrustRoot = z.infer<typeof TrustRoot>
