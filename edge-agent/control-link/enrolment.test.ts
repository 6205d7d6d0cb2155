import { createPublicKey, randomUUID, verify } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { EnrolmentRequest, type EnrolmentAnswer, enrolmentTranscript } from '@sendense/shared/contracts/enrolment.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openAgentIdentity } from './agent-identity.ts'
import { enrol } from './enrolment.ts'

const logger = createLogger('test', 'silent')
const token = 'token-token-token-token'
const clock: Clock = { ...systemClock, sleep: async () => undefined }
const enrolled: EnrolmentAnswer = {
  agentId: randomUUID(),
  tenantId: randomUUID(),
  siteName: 'here',
  certificateChain: 'certificate',
  brokerCa: 'ca',
  brokerUrls: ['mqtts://localhost:8883'],
  trustRoot: { version: 1, keys: [{ keyId: 'k', publicKey: 'AAAA' }] },
}

let stateDir: string
let requests: EnrolmentRequest[]
let answers: { status: number; body: unknown }[]
let cloudUrl: string
let closeServer: () => Promise<void>

beforeEach(async () => {
  stateDir = await mkdtemp(path.join(tmpdir(), 'sendense-enrol-'))
  requests = []
  answers = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      requests.push(EnrolmentRequest.parse(JSON.parse(Buffer.concat(chunks).toString('utf8'))))
      const { status, body } = answers.shift() ?? { status: 200, body: enrolled }
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  cloudUrl = typeof address === 'object' && address !== null ? `http://127.0.0.1:${address.port}` : ''
  closeServer = async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
})
afterEach(async () => {
  await closeServer()
  await rm(stateDir, { recursive: true, force: true })
})

async function enrolHere(some: { token?: string | undefined } = { token }) {
  const identity = await openAgentIdentity(stateDir)
  const who = { hostname: 'host', agentVersion: '0.1.0' }
  const signal = AbortSignal.timeout(10_000)
  return await enrol({ stateDir, identity, cloudUrl, token: some.token, ...who, clock, logger, signal })
}

test('asks once, signed over what it asks; later starts need neither token nor cloud', async () => {
  expect(await enrolHere()).toEqual(enrolled)
  const [request] = requests
  if (request === undefined) throw new Error('nothing was asked')
  const key = createPublicKey({ key: Buffer.from(request.identityKey, 'base64'), format: 'der', type: 'spki' })
  expect(verify(null, enrolmentTranscript(request), key, Buffer.from(request.signature, 'base64'))).toBe(true)
  expect(await enrolHere({ token: undefined })).toEqual(enrolled)
  expect(requests).toHaveLength(1)
})

test('asks again with the same keys where the cloud did not answer', async () => {
  answers = [
    { status: 502, body: 'bad gateway' },
    { status: 503, body: { code: 'database.unavailable', message: 'm', advice: 'a', details: {} } },
  ]
  expect(await enrolHere()).toEqual(enrolled)
  expect(requests).toHaveLength(3)
  expect(new Set(requests.map((request) => `${request.identityKey}${request.csr}`)).size).toBe(1)
})

test('says what the cloud refused', async () => {
  answers = [{ status: 401, body: { code: 'enrolment.token_invalid', message: 'used', advice: 'a', details: {} } }]
  await expect(enrolHere()).rejects.toMatchObject({ code: 'enrolment.token_invalid' })
})

test('an answer of another form is refused and nothing of it is kept', async () => {
  answers = [{ status: 200, body: { ...enrolled, agentId: 'x' } }]
  await expect(enrolHere()).rejects.toMatchObject({ code: 'enrolment.request_invalid' })
  expect(await readdir(stateDir)).not.toContain('agent.crt')
})

test('without a token an agent that has not enrolled says so', async () => {
  await expect(enrolHere({ token: undefined })).rejects.toMatchObject({ code: 'agent.not_enrolled' })
})

test('everything it keeps is readable by its owner only', async () => {
  await enrolHere()
  for (const name of await readdir(stateDir)) {
    const { mode } = await stat(path.join(stateDir, name))
    expect([name, mode & 0o077]).toEqual([name, 0])
  }
})
