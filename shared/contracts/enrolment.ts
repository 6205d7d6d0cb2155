import { z } from 'zod'
import { TrustRoot } from './signed-envelope.ts'

/**
 * POST /fleet/enrol, signed over the transcript: Ed25519 by the identity key over the UTF-8 bytes of
 * `sendense-enrol-v1\n` + token + `\n` + csr + `\n` + identityKey.
 */
export const EnrolmentRequest = z.strictObject({
  token: z.string().min(20).max(200),
  /** PKCS#10, PEM, of the TLS key. */
  csr: z.string().max(8192),
  /** Ed25519 public key, SPKI DER, base64. */
  identityKey: z.base64().max(512),
  signature: z.base64().max(128),
  hostname: z.string().max(255),
  agentVersion: z.string().max(64),
  protocol: z.strictObject({ min: z.int().positive(), max: z.int().positive() }),
  capabilities: z.array(z.string().max(64)).max(100),
})
export type EnrolmentRequest = z.infer<typeof EnrolmentRequest>

export const EnrolmentAnswer = z.strictObject({
  agentId: z.uuid(),
  tenantId: z.uuid(),
  siteName: z.string(),
  /** Client certificate and its issuers, PEM. */
  certificateChain: z.string(),
  /** What the broker's certificate must chain to, PEM. */
  brokerCa: z.string(),
  /** `mqtts://host:port` */
  brokerUrls: z.array(z.string()).min(1),
  trustRoot: TrustRoot,
})
export type EnrolmentAnswer = z.infer<typeof EnrolmentAnswer>

/** The bytes the identity key signs. */
export function enrolmentTranscript(request: Pick<EnrolmentRequest, 'token' | 'csr' | 'identityKey'>): Uint8Array {
  return new TextEncoder().encode(`sendense-enrol-v1\n${request.token}\n${request.csr}\n${request.identityKey}`)
}
