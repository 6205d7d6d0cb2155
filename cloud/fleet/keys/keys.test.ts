import '@sendense/shared/runtime/reflect-metadata.ts'
import { X509Certificate } from 'node:crypto'
import { copyFile, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as x509 from '@peculiar/x509'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { openRootedEnvelope, signEnvelope } from '@sendense/shared/runtime/signing.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestIdentity } from '../../testing/test-agent.ts'
import { issueAgentCertificate } from './certificates.ts'
import { initKeys, loadCloudKeys } from './key-directory.ts'

const DAY_MS = 24 * 3_600_000
const now = new Date('2026-06-01T00:00:00Z')
const hosts = ['localhost', '127.0.0.1']
let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sendense-keys-'))
  await initKeys(directory, hosts, now)
})
afterAll(async () => {
  await rm(directory, { recursive: true, force: true })
})

const after = (days: number) => new Date(now.getTime() + days * DAY_MS)

test('running again changes nothing; a new broker name renews only the broker', async () => {
  expect(await initKeys(directory, hosts, after(1))).toEqual([])
  expect(await initKeys(directory, [...hosts, 'broker.example.com'], after(1))).toEqual(['broker.key', 'broker.crt'])
  expect(await initKeys(directory, hosts, after(1))).toEqual([])
})

test('what ends soon is renewed, and authority and root key stay', async () => {
  const keys = await loadCloudKeys(directory)
  expect(await initKeys(directory, hosts, after(70))).toEqual(['delegation.json'])
  expect((await initKeys(directory, hosts, after(300))).toSorted()).toEqual([
    'broker.crt',
    'broker.key',
    'cloud-mqtt.crt',
    'cloud-mqtt.key',
    'delegation.json',
  ])
  const renewed = await loadCloudKeys(directory)
  expect(renewed.fleetCa).toEqual(keys.fleetCa)
  expect(renewed.trustRoot).toEqual(keys.trustRoot)
})

test('a key and a certificate that do not belong together are made anew', async () => {
  const key = join(directory, 'broker.key')
  await copyFile(join(directory, 'cloud-mqtt.key'), key)
  expect(await initKeys(directory, hosts, after(300))).toEqual(['broker.key', 'broker.crt'])
  await writeFile(`${key}.new`, 'left over')
  expect(await initKeys(directory, hosts, after(300))).toEqual([])
})

test('keys are for their owner only', async () => {
  for (const name of ['fleet-ca.key', 'broker.key', 'cloud-mqtt.key', 'command-root.pem', 'command-online.pem']) {
    expect({ name, mode: (await stat(join(directory, name))).mode & 0o777 }).toEqual({ name, mode: 0o600 })
  }
})

test('agents believe the online key through its delegation, for its classes and its time', async () => {
  const { online, delegation, trustRoot } = await loadCloudKeys(directory)
  const envelope = JSON.stringify(signEnvelope(payloadTypes.cloudMessage, { hello: 1 }, online, delegation))
  const opened = openRootedEnvelope(envelope, payloadTypes.cloudMessage, trustRoot, after(300))
  expect(opened.value).toEqual({ hello: 1 })
  expect(opened.delegation?.classes).toEqual(['read', 'operate'])
  const late = () => openRootedEnvelope(envelope, payloadTypes.cloudMessage, trustRoot, after(391))
  expect(late).toThrow('not valid now')
})

test('an agent certificate names the agent and nothing the request asked for', async () => {
  const { fleetCa } = await loadCloudKeys(directory)
  const { csr } = await createTestIdentity()
  const agentId = '11111111-1111-4111-8111-111111111111'
  const { certificate, expiresAt } = await issueAgentCertificate(fleetCa, csr, agentId, now)
  const parsed = new X509Certificate(certificate)
  expect(parsed.subject).toBe(`CN=${agentId}`)
  expect(parsed.verify(new X509Certificate(fleetCa.certificate).publicKey)).toBe(true)
  expect(parsed.ca).toBe(false)
  expect(parsed.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
  expect(expiresAt).toEqual(after(30))
})

test('requests with a broken signature, another kind of key, or no form are refused', async () => {
  const { fleetCa } = await loadCloudKeys(directory)
  const { csr } = await createTestIdentity()
  const bytes = new Uint8Array(x509.PemConverter.decodeFirst(csr))
  const last = bytes.length - 1
  bytes[last] = (bytes[last] ?? 0) ^ 1
  const rsa = await crypto.subtle.generateKey(
    { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) },
    true,
    ['sign', 'verify'],
  )
  const otherKind = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=x',
    keys: rsa,
    signingAlgorithm: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  })
  const requests = [x509.PemConverter.encode(bytes, 'CERTIFICATE REQUEST'), otherKind.toString('pem'), 'nonsense', '']
  for (const request of requests) {
    await expect(issueAgentCertificate(fleetCa, request, crypto.randomUUID(), now)).rejects.toSatisfy(
      (error: unknown) => isPlatformError(error, 'enrolment.request_invalid'),
    )
  }
})

test('an incomplete directory is named', async () => {
  await rm(join(directory, 'delegation.json'))
  await expect(loadCloudKeys(directory)).rejects.toThrow('run init-keys')
})
