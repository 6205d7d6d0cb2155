// Before the certificate library: it asks for metadata functions when it is loaded.
import '@sendense/shared/runtime/reflect-metadata.ts'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import * as x509 from '@peculiar/x509'
import type { AgentCommand, CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import {
  AgentMessage,
  type EventBatch,
  isNewerSync,
  type SyncNumber,
  type SyncRequest,
} from '@sendense/shared/contracts/agent-message.ts'
import type { CloudMessage } from '@sendense/shared/contracts/cloud-message.ts'
import type { EnrolmentAnswer } from '@sendense/shared/contracts/enrolment.ts'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { topics } from '@sendense/shared/contracts/topics.ts'
import {
  generateSigningKey,
  openEnvelope,
  signDelegation,
  signEnvelope,
  type SigningKey,
} from '@sendense/shared/runtime/signing.ts'
import mqtt, { type MqttClient } from 'mqtt'
import type { AgentIdentity } from './agent-identity.ts'

const UP_WITHIN_MS = 10_000
const WAIT_MAX_MS = 20_000
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** A real Mosquitto with mutual TLS, and the little of a cloud that an agent's link talks to. */
export interface TestFleet extends AsyncDisposable {
  readonly enrolment: EnrolmentAnswer
  /** What the cloud heard, in order; each signature was checked. */
  readonly syncs: SyncRequest[]
  readonly batches: EventBatch[]
  /** Sequences that count, in the order they were taken in. */
  readonly events: { readonly sequence: number; readonly event: EventBatch['events'][number]['event'] }[]
  readonly hints: string[]
  /** False: it hears events and says nothing. */
  acknowledges: boolean
  /** What it says it has. */
  highMark: number
  /** The newest sync it took in. */
  newestSync: SyncNumber | undefined
  order(command: AgentCommand, some?: Partial<CommandPayload>): CommandPayload
  send(message: CloudMessage, key?: SigningKey): Promise<void>
  sendRaw(bytes: string): Promise<void>
  sign(message: CloudMessage): string
  until(what: string, isTrue: () => boolean): Promise<void>
  stopBroker(): Promise<void>
  startBroker(): Promise<void>
}

export async function startTestFleet(identity: AgentIdentity): Promise<TestFleet> {
  await using stack = new AsyncDisposableStack()
  const directory = await mkdtemp(path.join(tmpdir(), 'sendense-link-'))
  stack.defer(async () => await rm(directory, { recursive: true, force: true }))
  const agentId = randomUUID()
  const tenantId = randomUUID()
  const authority = await createAuthority()
  const port = await freePort()
  const broker = await createBroker(directory, port, authority)
  stack.defer(async () => await broker.stop())
  await broker.start()
  const root = generateSigningKey()
  const online = generateSigningKey()
  const delegation = signDelegation(
    {
      version: 1,
      keyId: online.keyId,
      publicKey: online.publicKey,
      classes: ['read', 'operate'],
      notBefore: new Date(Date.now() - 60_000).toISOString(),
      notAfter: new Date(Date.now() + 3_600_000).toISOString(),
    },
    root,
  )
  const cloud = await authority.issue('cloud')
  const url = `mqtts://127.0.0.1:${port}`
  const client: MqttClient = await mqtt.connectAsync(url, {
    protocolVersion: 5,
    ca: authority.certificate,
    cert: cloud.certificate,
    key: cloud.key,
    reconnectPeriod: 50,
  })
  stack.defer(() => void client.end(true))
  let issued = 0
  const fleet: Omit<TestFleet, typeof Symbol.asyncDispose> = {
    enrolment: {
      agentId,
      tenantId,
      siteName: 'here',
      certificateChain: await authority.certify(identity.csr, agentId),
      brokerCa: authority.certificate,
      brokerUrls: [url],
      trustRoot: { version: 1, keys: [{ keyId: root.keyId, publicKey: root.publicKey }] },
    },
    syncs: [],
    batches: [],
    events: [],
    hints: [],
    acknowledges: true,
    highMark: 0,
    newestSync: undefined,
    order(command, some = {}) {
      issued += 1
      const at = Date.now()
      return {
        kind: 'command',
        version: 1,
        commandId: randomUUID(),
        agentId,
        tenantId,
        sequence: issued,
        class: 'read',
        issuedAt: new Date(at).toISOString(),
        notBefore: new Date(at).toISOString(),
        expiresAt: new Date(at + 60_000).toISOString(),
        command,
        ...some,
      }
    },
    sign: (message) => JSON.stringify(signEnvelope(payloadTypes.cloudMessage, message, online, delegation)),
    async send(message) {
      await fleet.sendRaw(fleet.sign(message))
    },
    async sendRaw(bytes) {
      await client.publishAsync(topics.commands(agentId), bytes, { qos: 1 })
    },
    async until(what, isTrue) {
      const deadline = Date.now() + WAIT_MAX_MS
      while (!isTrue()) {
        if (Date.now() > deadline) throw new Error(`waited too long: ${what}`)
        await delay(10)
      }
    },
    stopBroker: async () => await broker.stop(),
    startBroker: async () => await broker.start(),
  }
  client.on('message', (topic, payload) => void hear(fleet, identity, topic, payload, () => issued))
  await client.subscribeAsync([topics.events(agentId), topics.realtime(agentId), topics.presence(agentId)], { qos: 1 })
  const owned = stack.move()
  return Object.assign(fleet, { [Symbol.asyncDispose]: async () => await owned.disposeAsync() })
}

async function hear(
  fleet: Omit<TestFleet, typeof Symbol.asyncDispose>,
  identity: AgentIdentity,
  topic: string,
  payload: Buffer,
  issued: () => number,
): Promise<void> {
  const { agentId, tenantId } = fleet.enrolment
  if (topic === topics.presence(agentId)) {
    fleet.hints.push(payload.toString('utf8'))
    return
  }
  const message = AgentMessage.parse(openEnvelope(payload, payloadTypes.agentMessage, identity.signingKey.publicKey))
  if (message.kind === 'sync') {
    fleet.syncs.push(message)
    const { bootEpoch, syncSequence } = message
    const newestSync = fleet.newestSync
    if (newestSync === undefined || isNewerSync(message, newestSync)) fleet.newestSync = { bootEpoch, syncSequence }
    const next = message.lastCommandSequence + 1
    await fleet.send({
      kind: 'sync-answer',
      version: 1,
      agentId,
      tenantId,
      eventSequence: fleet.highMark,
      commandSequence: issued(),
      ...(next > issued() ? {} : { nextCommandSequence: next }),
      serverTime: new Date().toISOString(),
      requestClock: message.clock,
      newestSync: fleet.newestSync ?? { bootEpoch, syncSequence },
      protocol: 1,
    })
  } else if (message.kind === 'events') {
    fleet.batches.push(message)
    for (const { sequence, event } of message.events) {
      if (!fleet.acknowledges || sequence !== fleet.highMark + 1) continue
      fleet.highMark = sequence
      fleet.events.push({ sequence, event })
    }
    if (!fleet.acknowledges) return
    await fleet.send({ kind: 'event-ack', version: 1, agentId, sequence: fleet.highMark })
  }
}

interface Authority {
  readonly certificate: string
  /** A certificate for the key of a request, PEM. */
  certify(csr: string, commonName: string): Promise<string>
  issue(commonName: string): Promise<{ certificate: string; key: string }>
}

async function createAuthority(): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const times = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) }
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=test fleet',
    keys,
    ...times,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  })
  const sign = async (publicKey: x509.PublicKeyType, commonName: string): Promise<string> => {
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: randomUUID().replaceAll('-', ''),
      subject: `CN=${commonName}`,
      issuer: ca.subject,
      publicKey,
      signingKey: keys.privateKey,
      ...times,
      signingAlgorithm: algorithm,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
    })
    return certificate.toString('pem')
  }
  return {
    certificate: ca.toString('pem'),
    certify: async (csr, commonName) => await sign(new x509.Pkcs10CertificateRequest(csr).publicKey, commonName),
    async issue(commonName) {
      const own = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
      const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', own.privateKey), 'PRIVATE KEY')
      return { certificate: await sign(own.publicKey, commonName), key }
    },
  }
}

async function createBroker(directory: string, port: number, authority: Authority) {
  const own = await authority.issue('broker')
  const place = (name: string) => path.join(directory, name)
  await writeFile(place('ca.crt'), authority.certificate)
  await writeFile(place('broker.crt'), own.certificate)
  await writeFile(place('broker.key'), own.key, { mode: 0o600 })
  const acl = ['user cloud', 'topic readwrite sd/v1/a/#', 'pattern read sd/v1/a/%u/cmd']
  const writes = ['evt', 'rt', 'up'].map((channel) => `pattern write sd/v1/a/%u/${channel}`)
  await writeFile(place('acl'), `${[...acl, ...writes].join('\n')}\n`, { mode: 0o600 })
  const lines = [
    'user root',
    `listener ${port} 127.0.0.1`,
    `cafile ${place('ca.crt')}`,
    `certfile ${place('broker.crt')}`,
    `keyfile ${place('broker.key')}`,
    'require_certificate true',
    'use_identity_as_username true',
    `acl_file ${place('acl')}`,
    'persistence false',
  ]
  await writeFile(place('mosquitto.conf'), `${lines.join('\n')}\n`)
  let child: ChildProcess | undefined
  return {
    async start() {
      child = spawn('/usr/sbin/mosquitto', ['-c', place('mosquitto.conf')], { stdio: 'ignore' })
      const deadline = Date.now() + UP_WITHIN_MS
      while (!(await answers(port))) {
        if (Date.now() > deadline) throw new Error('Mosquitto did not come up')
        await delay(20)
      }
    },
    async stop() {
      const running = child
      child = undefined
      if (running === undefined || running.exitCode !== null) return
      const exited = once(running, 'exit')
      running.kill('SIGTERM')
      await exited
    },
  }
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const up = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  socket.destroy()
  return up
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
