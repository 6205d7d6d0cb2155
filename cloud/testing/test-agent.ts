import '@sendense/shared/runtime/reflect-metadata.ts'
import { sign } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import * as x509 from '@peculiar/x509'
import type { AgentEvent, AgentMessage, SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import { CloudMessage } from '@sendense/shared/contracts/cloud-message.ts'
import { EnrolmentAnswer, type EnrolmentRequest, enrolmentTranscript } from '@sendense/shared/contracts/enrolment.ts'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { topics } from '@sendense/shared/contracts/topics.ts'
import {
  generateSigningKey,
  openRootedEnvelope,
  signEnvelope,
  type SigningKey,
} from '@sendense/shared/runtime/signing.ts'
import mqtt, { type MqttClient } from 'mqtt'

const algorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const
const WAIT_MAX_MS = 20_000

/** What an agent is known by. Speaks the fleet protocol over the wire, and runs nothing. */
export interface TestIdentity {
  readonly identity: SigningKey
  readonly tlsKey: string
  readonly csr: string
}

export async function createTestIdentity(): Promise<TestIdentity> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=agent',
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  })
  const tlsKey = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
  return { identity: generateSigningKey(), tlsKey, csr: csr.toString('pem') }
}

export function enrolmentRequestOf(from: TestIdentity, token: string): EnrolmentRequest {
  const part = { token, csr: from.csr, identityKey: from.identity.publicKey }
  const signature = sign(null, enrolmentTranscript(part), from.identity.privateKey).toString('base64')
  return {
    ...part,
    signature,
    hostname: 'host-1',
    agentVersion: '0.1.0',
    protocol: { min: 1, max: 1 },
    capabilities: [],
  }
}

export async function enrolOverHttp(origin: string, request: EnrolmentRequest): Promise<EnrolmentAnswer> {
  const response = await fetch(`${origin}/fleet/enrol`, { method: 'POST', body: JSON.stringify(request) })
  const body: unknown = await response.json()
  if (!response.ok) throw new Error(JSON.stringify(body))
  return EnrolmentAnswer.parse(body)
}

export interface TestAgent extends AsyncDisposable {
  readonly agentId: string
  /** Everything the cloud said, in order; each signature was checked. */
  readonly received: CloudMessage[]
  send(message: AgentMessage, options?: { key?: SigningKey; topic?: string }): Promise<void>
  publishRaw(topic: string, payload: string): Promise<void>
  isConnected(): boolean
  sendEvents(first: number, events: AgentEvent[], options?: { key?: SigningKey }): Promise<void>
  sync(lastCommandSequence: number): Promise<void>
  /** The first message the test accepts, from those that came and those to come. */
  waitFor<T extends CloudMessage>(accepts: (message: CloudMessage) => message is T): Promise<T>
}

/** Connects with the certificate of its enrolment and says that it is online. */
export async function connectTestAgent(
  from: TestIdentity,
  answer: EnrolmentAnswer,
  brokerUrl: string,
): Promise<TestAgent> {
  const { agentId } = answer
  const client: MqttClient = await mqtt.connectAsync(brokerUrl, {
    protocolVersion: 5,
    clientId: agentId,
    ca: answer.brokerCa,
    cert: answer.certificateChain,
    key: from.tlsKey,
    reconnectPeriod: 100,
  })
  const received: CloudMessage[] = []
  client.on('message', (_topic, payload) => {
    const { value } = openRootedEnvelope(payload, payloadTypes.cloudMessage, answer.trustRoot, new Date())
    received.push(CloudMessage.parse(value))
  })
  const announce = async (): Promise<void> => {
    const hint = { state: 'online', bootEpoch: 1, at: new Date().toISOString() }
    await client.publishAsync(topics.presence(agentId), JSON.stringify(hint), { qos: 1, retain: true })
  }
  await client.subscribeAsync(topics.commands(agentId), { qos: 1 })
  client.on('connect', () => void announce())
  await announce()
  const send: TestAgent['send'] = async (message, options = {}) => {
    const envelope = signEnvelope(payloadTypes.agentMessage, message, options.key ?? from.identity)
    await client.publishAsync(options.topic ?? topics.events(agentId), JSON.stringify(envelope), { qos: 1 })
  }
  return {
    agentId,
    received,
    send,
    isConnected: () => client.connected,
    async publishRaw(topic, payload) {
      await client.publishAsync(topic, payload, { qos: 1, retain: topic.endsWith('/up') })
    },
    sendEvents: (first, events, options) => send(batchOf(agentId, first, events), options),
    sync: (lastCommandSequence) => send({ ...syncOf(agentId), lastCommandSequence }),
    async waitFor(accepts) {
      const until = Date.now() + WAIT_MAX_MS
      for (;;) {
        const found = received.find((message) => accepts(message))
        if (found !== undefined && accepts(found)) return found
        if (Date.now() > until) throw new Error('the cloud did not say it')
        await delay(10)
      }
    },
    async [Symbol.asyncDispose]() {
      await client.endAsync(true)
    },
  }
}

let syncs = 0

/** Of an agent that has nothing yet; newer than every one before it. */
export function syncOf(agentId: string): SyncRequest {
  syncs += 1
  return {
    kind: 'sync',
    version: 1,
    agentId,
    bootEpoch: 1,
    syncSequence: syncs,
    agentVersion: '0.1.0',
    protocol: { min: 1, max: 1 },
    capabilities: [],
    lastCommandSequence: 0,
    eventHighMark: 0,
    eventLowestKept: 1,
    jobsInFlight: [],
    clock: new Date().toISOString(),
  }
}

export function batchOf(
  agentId: string,
  first: number,
  events: AgentEvent[],
): Extract<AgentMessage, { kind: 'events' }> {
  const at = new Date().toISOString()
  return {
    kind: 'events',
    version: 1,
    agentId,
    bootEpoch: 1,
    sentAt: at,
    events: events.map((event, index) => ({ sequence: first + index, at, event })),
  }
}
