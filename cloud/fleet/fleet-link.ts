import { PresenceHint } from '@sendense/shared/contracts/agent-message.ts'
import type { CloudMessage } from '@sendense/shared/contracts/cloud-message.ts'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { parseTopic, topics } from '@sendense/shared/contracts/topics.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { openEnvelope } from '@sendense/shared/runtime/signing.ts'
import type { Database } from '../db/database.ts'
import type { LiveBus } from '../live/live-bus.ts'
import type { ProgressBoard } from '../live/progress-board.ts'
import type { AgentDirectory, KnownAgent } from './agent-directory.ts'
import { type BrokerConnection, openBrokerConnection } from './broker-connection.ts'
import type { CloudSigner } from './cloud-signer.ts'
import type { CommandPublisher } from './command-publisher.ts'
import { ingestEvents } from './event-ingestion.ts'
import { createKeyedQueue } from './keyed-queue.ts'
import type { CloudKeys } from './keys/key-directory.ts'
import type { PresenceBoard } from './presence-board.ts'
import { ReceivedMessage } from './received-message.ts'
import { answerSync } from './sync-session.ts'

const MESSAGE_MAX_BYTES = 24 * 1024 * 1024
const AGENTS_AT_ONCE = 4
/** Past this, messages are dropped: agents send again what was not acknowledged. */
const WAITING_MAX = 1000
const WAITING_PER_AGENT_MAX = 20

export interface FleetLinkOptions {
  readonly brokerUrl: string
  readonly keys: CloudKeys
  readonly database: Database
  readonly directory: AgentDirectory
  readonly signer: CloudSigner
  readonly publisher: CommandPublisher
  readonly presence: PresenceBoard
  readonly progress: ProgressBoard
  readonly live: LiveBus
  readonly now: () => Date
  readonly logger: Logger
}

/** The cloud's side of all conversations with agents. */
export interface FleetLink extends AsyncDisposable {
  isConnected(): boolean
  /** Sends waiting commands to an agent whose session stands; otherwise its next sync brings them. */
  nudge(agentId: string): void
}

/**
 * Messages of one agent are taken one after the other. Nothing an agent sends is believed before its
 * signature was checked with the key it was enrolled with, and its tenant comes from the database alone.
 */
export function openFleetLink(options: FleetLinkOptions): FleetLink {
  const { presence, logger } = options
  const queue = createKeyedQueue({
    runningMax: AGENTS_AT_ONCE,
    waitingMax: WAITING_MAX,
    waitingPerKeyMax: WAITING_PER_AGENT_MAX,
  })
  const connection = openBrokerConnection(
    { url: options.brokerUrl, keys: options.keys, logger },
    {
      onConnection: (connected) => presence.setBrokerConnected(connected),
      onMessage: (topic, payload) => {
        const parsed = parseTopic(topic)
        if (parsed === undefined || parsed.channel === 'cmd' || payload.byteLength > MESSAGE_MAX_BYTES) return
        const { agentId, channel } = parsed
        enqueue(agentId, channel, () => handle(options, connection, { agentId, channel, payload }))
      },
    },
  )
  const enqueue = (agentId: string, what: string, work: () => Promise<void>): void => {
    const guarded = async (): Promise<void> => {
      try {
        await work()
      } catch (error) {
        const code = error instanceof PlatformError ? error.code : 'internal.unexpected'
        logger.warn({ agentId, what, code, err: error }, 'a message of an agent was not taken')
      }
    }
    const isTaken = what === 'nudge' ? queue.addOnce(agentId, guarded) : queue.add(agentId, guarded)
    if (!isTaken) logger.warn({ agentId, what }, 'too much waits: a message was dropped')
  }
  return {
    isConnected: () => connection.isConnected(),
    nudge: (agentId) => {
      if (!presence.isConnected(agentId)) return
      enqueue(agentId, 'nudge', async () => {
        const known = await options.directory.find(agentId)
        if (known === undefined) return
        await options.publisher.publishWaiting(known, (topic, payload) => connection.publish(topic, payload))
      })
    },
    async [Symbol.asyncDispose]() {
      await connection[Symbol.asyncDispose]()
      await queue[Symbol.asyncDispose]()
    },
  }
}

interface Incoming {
  readonly agentId: string
  readonly channel: 'evt' | 'rt' | 'up'
  readonly payload: Buffer
}

async function handle(options: FleetLinkOptions, connection: BrokerConnection, incoming: Incoming): Promise<void> {
  const known = await options.directory.find(incoming.agentId)
  if (known === undefined) throw new PlatformError('agent.not_found', 'no such agent, or it is revoked')
  if (incoming.channel === 'up') return takeHint(options, known, incoming.payload)
  const message = openMessage(known, incoming.payload)
  if (incoming.channel === 'rt') {
    if (message.kind === 'progress') await takeProgress(options, known, message)
    return
  }
  switch (message.kind) {
    case 'events':
      return await takeEvents(options, connection, known, message)
    case 'sync':
      return await takeSync(options, connection, known, message)
    case 'progress':
      return
    default:
      return message satisfies never
  }
}

function openMessage(known: KnownAgent, payload: Buffer): ReceivedMessage {
  const value = openEnvelope(payload, payloadTypes.agentMessage, known.identityKey)
  const parsed = ReceivedMessage.safeParse(value)
  if (!parsed.success) {
    throw new PlatformError('command.invalid', 'the message is of no kind this cloud knows', { cause: parsed.error })
  }
  if (parsed.data.agentId !== known.agentId) {
    throw new PlatformError('command.wrong_audience', 'the message names another agent')
  }
  return parsed.data
}

function takeHint(options: FleetLinkOptions, known: KnownAgent, payload: Buffer): void {
  // An empty retained message only removes the one before it.
  if (payload.byteLength === 0) return
  const before = options.presence.isConnected(known.agentId)
  options.presence.setHint(known.agentId, PresenceHint.parse(JSON.parse(payload.toString('utf8'))))
  if (before === options.presence.isConnected(known.agentId)) return
  options.live.publish(known, { type: 'agent-changed', agentId: known.agentId })
}

type MessageOf<K extends ReceivedMessage['kind']> = Extract<ReceivedMessage, { kind: K }>

async function takeProgress(
  options: FleetLinkOptions,
  known: KnownAgent,
  message: MessageOf<'progress'>,
): Promise<void> {
  for (const progress of message.jobs) {
    if (!(await options.directory.hasJob(known, progress.jobId))) continue
    options.progress.set(progress)
    options.live.publish(known, { type: 'job-progress', progress })
  }
}

async function takeEvents(
  options: FleetLinkOptions,
  connection: BrokerConnection,
  known: KnownAgent,
  batch: MessageOf<'events'>,
): Promise<void> {
  const { now, logger } = options
  const ingested = await ingestEvents(options.database, known, batch, { now: now(), logger })
  for (const event of ingested.liveEvents) {
    if (event.type === 'job-changed' && event.state !== 'running') options.progress.remove(event.jobId)
    options.live.publish(known, event)
  }
  await send(options, connection, {
    kind: 'event-ack',
    version: 1,
    agentId: known.agentId,
    sequence: ingested.sequence,
  })
}

async function takeSync(
  options: FleetLinkOptions,
  connection: BrokerConnection,
  known: KnownAgent,
  request: MessageOf<'sync'>,
): Promise<void> {
  const { answer, isNew, liveEvents } = await answerSync(options.database, known, request, options.now())
  await send(options, connection, answer)
  if (!isNew) {
    const { bootEpoch, syncSequence } = request
    const fields = { agentId: known.agentId, bootEpoch, syncSequence, newestSync: answer.newestSync }
    options.logger.warn(fields, 'an old sync of an agent came again and had no effect')
    return
  }
  for (const event of liveEvents) options.live.publish(known, event)
  options.live.publish(known, { type: 'agent-changed', agentId: known.agentId })
  await options.publisher.publishAfter(known, request.lastCommandSequence, (topic, payload) =>
    connection.publish(topic, payload),
  )
}

async function send(options: FleetLinkOptions, connection: BrokerConnection, message: CloudMessage): Promise<void> {
  await connection.publish(topics.commands(message.agentId), options.signer.sign(message))
}
