// Before the certificate library: it asks for metadata functions when it is loaded.
import '@sendense/shared/runtime/reflect-metadata.ts'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import * as x509 from '@peculiar/x509'
import { readOptionalFile, writeSecretFile } from '@sendense/shared/runtime/secret-file.ts'
import {
  exportSigningKey,
  generateSigningKey,
  importSigningKey,
  type SigningKey,
} from '@sendense/shared/runtime/signing.ts'

/** Keys that never leave this machine: who the agent is, and what its TLS sessions use. */
export interface AgentIdentity {
  readonly signingKey: SigningKey
  /** PKCS#8, PEM. */
  readonly tlsKey: string
  /** PKCS#10 for that key, PEM. */
  readonly csr: string
}

const tlsAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const

/** Reads the keys from `stateDir`, or makes them once. Files are readable by their owner only. */
export async function openAgentIdentity(stateDir: string): Promise<AgentIdentity> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 })
  const signingKey = importSigningKey(
    await readOrMake(path.join(stateDir, 'identity.key'), async () => exportSigningKey(generateSigningKey())),
  )
  const tlsKey = await readOrMake(path.join(stateDir, 'tls.key'), makeTlsKey)
  const csr = await readOrMake(path.join(stateDir, 'tls.csr'), async () => await makeCsr(tlsKey))
  return { signingKey, tlsKey, csr }
}

async function readOrMake(file: string, make: () => Promise<string>): Promise<string> {
  const found = await readOptionalFile(file)
  if (found !== undefined) return found
  const made = await make()
  await writeSecretFile(file, made)
  return made
}

async function makeTlsKey(): Promise<string> {
  const keys = await crypto.subtle.generateKey(tlsAlgorithm, true, ['sign', 'verify'])
  return x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
}

async function makeCsr(tlsKey: string): Promise<string> {
  const pkcs8 = x509.PemConverter.decodeFirst(tlsKey)
  const privateKey = await crypto.subtle.importKey('pkcs8', pkcs8, tlsAlgorithm, true, ['sign'])
  const { d: _private, key_ops: _usages, ...point } = await crypto.subtle.exportKey('jwk', privateKey)
  const publicKey = await crypto.subtle.importKey('jwk', point, tlsAlgorithm, true, ['verify'])
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=sendense-edge',
    keys: { privateKey, publicKey },
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  })
  return request.toString('pem')
}
