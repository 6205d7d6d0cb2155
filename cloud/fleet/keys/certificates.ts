import '@sendense/shared/runtime/reflect-metadata.ts'
import type { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

const DAY_MS = 24 * 3_600_000
/** Clocks of hosts differ: certificates begin a little earlier. */
const BACKDATE_MS = 3_600_000
const CA_DAYS = 3650
const SERVER_DAYS = 397
export const AGENT_CERTIFICATE_DAYS = 30

const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const

/** PEM, both. */
export interface KeyAndCertificate {
  readonly certificate: string
  readonly key: string
}

/** A certificate authority for the broker, the cloud and its agents (RFC 5280), P-256. */
export async function createFleetCa(now: Date): Promise<KeyAndCertificate> {
  const keys = await crypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=Sendense fleet CA',
    keys,
    signingAlgorithm,
    ...validity(now, CA_DAYS),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: certificate.toString('pem'), key: await exportKey(keys.privateKey) }
}

/** For the broker: proves that it is one of `hosts`. */
export async function issueServerCertificate(
  ca: KeyAndCertificate,
  hosts: readonly string[],
  now: Date,
): Promise<KeyAndCertificate> {
  const keys = await crypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])
  const names = hosts.map((host) => ({ type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const), value: host }))
  const certificate = await issue(ca, {
    commonName: hosts[0] ?? 'broker',
    publicKey: keys.publicKey,
    days: SERVER_DAYS,
    usage: x509.ExtendedKeyUsage.serverAuth,
    extensions: [new x509.SubjectAlternativeNameExtension(names)],
    now,
  })
  return { certificate, key: await exportKey(keys.privateKey) }
}

/** For a client whose key is made here: the cloud itself. */
export async function issueClientCertificate(
  ca: KeyAndCertificate,
  commonName: string,
  now: Date,
): Promise<KeyAndCertificate> {
  const keys = await crypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])
  const { publicKey, privateKey } = keys
  const usage = x509.ExtendedKeyUsage.clientAuth
  const certificate = await issue(ca, { commonName, publicKey, days: SERVER_DAYS, usage, extensions: [], now })
  return { certificate, key: await exportKey(privateKey) }
}

/**
 * For an agent, from its request: only the key is taken from it, the name is the agent's id.
 * Rejects with `enrolment.request_invalid` unless it is a P-256 request signed by its own key.
 * @returns PEM, and when it ends
 */
export async function issueAgentCertificate(
  ca: KeyAndCertificate,
  csr: string,
  agentId: string,
  now: Date,
): Promise<{ certificate: string; expiresAt: Date }> {
  const publicKey = await readRequest(csr)
  const certificate = await issue(ca, {
    commonName: agentId,
    publicKey,
    days: AGENT_CERTIFICATE_DAYS,
    usage: x509.ExtendedKeyUsage.clientAuth,
    extensions: [],
    now,
  })
  return { certificate, expiresAt: validity(now, AGENT_CERTIFICATE_DAYS).notAfter }
}

async function readRequest(csr: string): Promise<webcrypto.CryptoKey> {
  try {
    const request = new x509.Pkcs10CertificateRequest(csr)
    const publicKey = await request.publicKey.export(keyAlgorithm, ['verify'])
    if (await request.verify()) return publicKey
  } catch (error) {
    throw new PlatformError('enrolment.request_invalid', 'the certificate request cannot be read', { cause: error })
  }
  throw new PlatformError('enrolment.request_invalid', 'the certificate request is not signed by its own key')
}

/** True where less than a third of its life is left, or where it does not name all of `hosts`. */
export function needsRenewal(certificate: string, hosts: readonly string[], now: Date): boolean {
  const parsed = new x509.X509Certificate(certificate)
  const lifeMs = parsed.notAfter.getTime() - parsed.notBefore.getTime()
  if (parsed.notAfter.getTime() - now.getTime() < lifeMs / 3) return true
  const names = parsed.getExtension(x509.SubjectAlternativeNameExtension)?.names.items.map((name) => name.value) ?? []
  return hosts.some((host) => !names.includes(host))
}

interface Issue {
  readonly commonName: string
  readonly publicKey: webcrypto.CryptoKey
  readonly days: number
  readonly usage: string
  readonly extensions: x509.Extension[]
  readonly now: Date
}

async function issue(ca: KeyAndCertificate, order: Issue): Promise<string> {
  const issuer = new x509.X509Certificate(ca.certificate)
  const pkcs8 = x509.PemConverter.decodeFirst(ca.key)
  const signingKey = await crypto.subtle.importKey('pkcs8', pkcs8, keyAlgorithm, false, ['sign'])
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [order.commonName] }],
    issuer: issuer.subject,
    publicKey: order.publicKey,
    signingKey,
    signingAlgorithm,
    ...validity(order.now, order.days),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([order.usage]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      await x509.SubjectKeyIdentifierExtension.create(order.publicKey),
      ...order.extensions,
    ],
  })
  return certificate.toString('pem')
}

function validity(now: Date, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now.getTime() - BACKDATE_MS), notAfter: new Date(now.getTime() + days * DAY_MS) }
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')
}
