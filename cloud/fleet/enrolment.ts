import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import {
  type EnrolmentAnswer,
  type EnrolmentRequest,
  enrolmentTranscript,
} from '@sendense/shared/contracts/enrolment.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { and, eq, gt, isNull } from 'drizzle-orm'
import { appendAudit } from '../audit/audit-chain.ts'
import type { Database, SystemTransaction } from '../db/database.ts'
import { agent, enrolmentToken } from '../db/schema/fleet.ts'
import { site } from '../db/schema/tenancy.ts'
import { hashToken } from './enrolment-tokens.ts'
import { issueAgentCertificate } from './keys/certificates.ts'
import type { CloudKeys } from './keys/key-directory.ts'

/** The protocol this cloud speaks. */
export const PROTOCOL_VERSION = 1

/**
 * Makes an agent of a token, an identity key and a certificate request. The token is used up in the
 * transaction that creates the agent; the same token with the same identity key gives the same agent a new
 * certificate, so that a lost answer can be asked for again.
 * Rejects with `enrolment.token_invalid`, `enrolment.request_invalid`.
 */
export function createEnrolment(options: {
  database: Database
  keys: CloudKeys
  brokerUrls: readonly string[]
  now: () => Date
}): (request: EnrolmentRequest) => Promise<EnrolmentAnswer> {
  const { database, keys, brokerUrls } = options
  return async (request) => {
    checkTranscript(request)
    checkProtocol(request)
    const now = options.now()
    const agentId = newId(now)
    const issued = await issueAgentCertificate(keys.fleetCa, request.csr, agentId, now)
    const enrolled = await database.withSystem('enrol an agent', (tx) =>
      takeToken(tx, request, { agentId, certificateExpiresAt: issued.expiresAt, now }),
    )
    const certificate =
      enrolled.agentId === agentId
        ? issued.certificate
        : (await issueAgentCertificate(keys.fleetCa, request.csr, enrolled.agentId, now)).certificate
    return {
      agentId: enrolled.agentId,
      tenantId: enrolled.customerId,
      siteName: enrolled.siteName,
      certificateChain: `${certificate}\n${keys.fleetCa.certificate}\n`,
      brokerCa: keys.fleetCa.certificate,
      brokerUrls: [...brokerUrls],
      trustRoot: keys.trustRoot,
    }
  }
}

async function takeToken(
  tx: SystemTransaction,
  request: EnrolmentRequest,
  fresh: { agentId: string; certificateExpiresAt: Date; now: Date },
): Promise<{ agentId: string; customerId: string; siteName: string }> {
  const { agentId, certificateExpiresAt, now } = fresh
  const { identityKey } = request
  const isToken = and(eq(enrolmentToken.tokenHash, hashToken(request.token)), gt(enrolmentToken.expiresAt, now))
  const [taken] = await tx
    .update(enrolmentToken)
    .set({ consumedAt: now, identityKey, agentId })
    .where(and(isToken, isNull(enrolmentToken.consumedAt)))
    .returning()
  const [token] = taken === undefined ? await tx.select().from(enrolmentToken).where(isToken) : [taken]
  if (token === undefined || token.identityKey !== identityKey || token.agentId === null) {
    throw new PlatformError('enrolment.token_invalid', 'the enrolment token is unknown, expired or used')
  }
  const { mspId, customerId, siteId } = token
  const [place] = await tx
    .select({ name: site.name })
    .from(site)
    .where(and(eq(site.mspId, mspId), eq(site.customerId, customerId), eq(site.id, siteId)))
  if (place === undefined) throw new PlatformError('enrolment.token_invalid', 'the site of the token is gone')
  const tenant = { mspId, customerId }
  if (taken === undefined) {
    await tx.update(agent).set({ certificateExpiresAt }).where(eq(agent.id, token.agentId))
  } else {
    await tx.insert(agent).values({
      ...tenant,
      siteId,
      id: agentId,
      hostname: request.hostname,
      agentVersion: request.agentVersion,
      identityKey,
      protocolMin: request.protocol.min,
      protocolMax: request.protocol.max,
      capabilities: request.capabilities,
      enrolledAt: now,
      certificateExpiresAt,
    })
  }
  await appendAudit(tx, {
    ...tenant,
    actor: `agent:${token.agentId}`,
    action: taken === undefined ? 'agent.enrolled-again' : 'agent.enrolled',
    details: { siteId, hostname: request.hostname, agentVersion: request.agentVersion },
    at: now,
  })
  return { agentId: token.agentId, customerId, siteName: place.name }
}

function checkTranscript(request: EnrolmentRequest): void {
  const key = readIdentityKey(request.identityKey)
  if (!verify(null, enrolmentTranscript(request), key, Buffer.from(request.signature, 'base64'))) {
    throw new PlatformError('enrolment.request_invalid', 'the request is not signed by the identity key')
  }
}

function readIdentityKey(identityKey: string): KeyObject {
  try {
    const key = createPublicKey({ key: Buffer.from(identityKey, 'base64'), format: 'der', type: 'spki' })
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch (error) {
    throw new PlatformError('enrolment.request_invalid', 'the identity key cannot be read', { cause: error })
  }
  throw new PlatformError('enrolment.request_invalid', 'the identity key is not Ed25519')
}

function checkProtocol(request: EnrolmentRequest): void {
  const { min, max } = request.protocol
  if (min > PROTOCOL_VERSION || max < PROTOCOL_VERSION) {
    throw new PlatformError(
      'enrolment.request_invalid',
      `the agent speaks protocol ${min} to ${max}, this cloud ${PROTOCOL_VERSION}`,
    )
  }
}
