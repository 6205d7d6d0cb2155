import '@sendense/shared/runtime/reflect-metadata.ts'
import { randomUUID } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'

const HOUR_MS = 3_600_000
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

export interface TestCertificate {
  readonly certificatePem: string
  readonly keyPem: string
}

export interface CertificateWish {
  /** Host names and addresses it is good for. */
  readonly names: readonly string[]
  /** Default: from a minute ago, for an hour. */
  readonly validFrom?: Date
  readonly validUntil?: Date
}

/** A certificate authority that a test made. */
export interface TestAuthority {
  readonly caPem: string
  issue(wish: CertificateWish): Promise<TestCertificate>
}

export async function createTestAuthority(): Promise<TestAuthority> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: `CN=test authority ${randomUUID()}`,
    keys,
    notBefore: new Date(Date.now() - 24 * HOUR_MS),
    notAfter: new Date(Date.now() + HOUR_MS),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return {
    caPem: ca.toString('pem'),
    issue: async ({ names, validFrom, validUntil }) => {
      const own = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: randomUUID().replaceAll('-', ''),
        subject: `CN=${names[0] ?? 'nobody'}`,
        issuer: ca.subject,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        notBefore: validFrom ?? new Date(Date.now() - 60_000),
        notAfter: validUntil ?? new Date(Date.now() + HOUR_MS),
        signingAlgorithm: algorithm,
        extensions: [
          new x509.SubjectAlternativeNameExtension(
            names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
          ),
          await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
        ],
      })
      const key = await crypto.subtle.exportKey('pkcs8', own.privateKey)
      return { certificatePem: certificate.toString('pem'), keyPem: x509.PemConverter.encode(key, 'PRIVATE KEY') }
    },
  }
}
