import { EventEmitter, once } from 'node:events'
import type { AgentMessage, SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import { CloudMessage, type SyncAnswer } from '@sendense/shared/contracts/cloud-message.ts'
import type { EnrolmentAnswer } from '@sendense/shared/contracts/enrolment.ts'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { topics } from '@sendense/shared/contracts/topics.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { openRootedEnvelope, signEnvelope } from '@sendense/shared/runtime/signing.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import type { AgentIdentity } from './agent-identity.ts'
import type { AlertBook } from './alert-book.ts'
import type { BrokerSession } from './broker-session.ts'
import type { CommandReceiver } from './command-receiver.ts'
import type { CorrectedClock } from './corrected-clock.ts'
import { OutboxPublisher } from './outbox-publisher.ts'
import type { ProgressBoard } from './progress-board.ts'
import { capabilities, PROTOCOL_VERSION } from './protocol-version.ts'
import { followCloud } from './sent-mark.ts'
import { readSyncFacts } from './sync-facts.ts'
import type { SyncNumbers } from './sync-numbers.ts'

/** Also the heartbeat: the cloud calls an agent stale that it has not heard of for two minutes. */
const SYNC_EVERY_MS = 60_000
const SYNC_ANSWER_WAIT_MS = 10_000
const PROGRESS_EVERY_MS = 500
const GOODBYE_WAIT_MS = 2000

export interface ControlLinkOptions {
  readonly catalogue: Catalogue
  readonly identity: AgentIdentity
  readonly enrolment: EnrolmentAnswer
  /** As the catalogue counted this start of the process. */
  readonly bootEpoch: number
  readonly agentVersion: string
  readonly progress: ProgressBoard
  readonly clock: Clock
  readonly logger: Logger
  readonly newId: () => string
  /** A command became durable in the inbox. */
  readonly onCommand: () => void
}

export interface ConversationParts {
  readonly corrected: CorrectedClock
  readonly receiver: CommandReceiver
  readonly alerts: AlertBook
  readonly syncs: SyncNumbers
}

/** What is said over one session: hello, sync, events, progress, and what the cloud says. */
export class Conversation {
  readonly #options: ControlLinkOptions
  readonly #parts: ConversationParts
  #publisher: OutboxPublisher | undefined
  readonly #answers = new EventEmitter()
  #session: BrokerSession | undefined
  #syncWanted = false
  answered = false

  constructor(options: ControlLinkOptions, parts: ConversationParts) {
    this.#options = options
    this.#parts = parts
  }

  presence(state: 'online' | 'offline'): string {
    const { clock } = this.#options
    const { bootEpoch } = this.#parts.syncs
    return JSON.stringify({ state, bootEpoch, at: clock.now().toISOString() })
  }

  /** Says hello, syncs, sends events and progress; rejects when the session is over, with `signal`'s reason. */
  async run(session: BrokerSession, signal: AbortSignal): Promise<void> {
    const { agentId } = this.#options.enrolment
    this.#session = session
    await session.publish(topics.presence(agentId), this.presence('online'), { qos: 1, retain: true })
    const failed = new AbortController()
    const both = AbortSignal.any([signal, failed.signal])
    const loops = [this.#keepInSync(session, both), this.#sendEvents(both), this.#sendProgress(session, both)]
    const guarded = loops.map(async (loop) => {
      try {
        await loop
      } catch (error) {
        failed.abort(error)
        throw error
      }
    })
    await Promise.allSettled(guarded)
    signal.throwIfAborted()
    failed.signal.throwIfAborted()
  }

  async sayGoodbye(session: BrokerSession): Promise<void> {
    const { agentId } = this.#options.enrolment
    const goodbye = session.publish(topics.presence(agentId), this.presence('offline'), { qos: 1, retain: true })
    const heard = new AbortController()
    const tooLong = this.#options.clock.sleep(GOODBYE_WAIT_MS, { signal: heard.signal }).catch(() => undefined)
    await Promise.race([goodbye.catch(() => undefined), tooLong])
    heard.abort()
  }

  /** One message of the cloud. Rejects only where it must come again. */
  async takeIn(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const { enrolment } = this.#options
    let opened: ReturnType<typeof openRootedEnvelope>
    try {
      opened = openRootedEnvelope(bytes, payloadTypes.cloudMessage, enrolment.trustRoot, this.#parts.corrected.now())
    } catch (error) {
      if (!isPlatformError(error)) throw error
      return await this.#parts.alerts.raise(error, 'critical', { signal })
    }
    const parsed = CloudMessage.safeParse(opened.value)
    if (!parsed.success) {
      const known = new PlatformError('command.invalid', 'a message of the cloud is of no form this agent knows', {
        cause: parsed.error,
      })
      return await this.#parts.alerts.raise(known, 'warning', { signal })
    }
    const message = parsed.data
    if (message.kind === 'command') {
      const receipt = await this.#parts.receiver.receive(message, opened.delegation, { signal })
      if (receipt === 'gap') this.#requestSync()
      return
    }
    if (message.agentId !== enrolment.agentId) {
      const known = new PlatformError('command.wrong_audience', `a message is for agent ${message.agentId}`)
      return await this.#parts.alerts.raise(known, 'critical', { signal })
    }
    if (message.kind === 'event-ack') return await this.#publisher?.acknowledge(message.sequence, { signal })
    await this.#takeAnswer(message, signal)
  }

  async #takeAnswer(answer: SyncAnswer, signal: AbortSignal): Promise<void> {
    const { catalogue, logger } = this.#options
    if (!this.#parts.corrected.endRequest(answer)) return
    if (await this.#parts.syncs.follow(answer.newestSync, { signal })) {
      logger.warn({ newestSync: answer.newestSync }, 'the cloud has syncs this catalogue never sent')
      this.#requestSync()
      this.#answers.emit('answer')
      return
    }
    const young = await followCloud(catalogue, answer.eventSequence, { signal })
    if (young) logger.warn({ eventSequence: answer.eventSequence }, 'the cloud has events this catalogue never sent')
    this.#parts.receiver.noteSynced(answer.nextCommandSequence)
    if (this.#publisher === undefined) this.#openPublisher(answer.eventSequence)
    await this.#publisher?.acknowledge(answer.eventSequence, { signal })
    if (!this.answered) logger.info({ offsetMs: Math.round(this.#parts.corrected.offsetMs) }, 'in sync with the cloud')
    this.answered = true
    this.#answers.emit('answer')
  }

  #openPublisher(acknowledged: number): void {
    const { catalogue, enrolment, clock, logger } = this.#options
    const { bootEpoch } = this.#parts.syncs
    const send = async (batch: AgentMessage): Promise<void> => {
      await this.#session?.publish(topics.events(enrolment.agentId), this.#sign(batch), { qos: 1 })
    }
    const { agentId } = enrolment
    this.#publisher = new OutboxPublisher({ catalogue, agentId, bootEpoch, clock, logger, send }, acknowledged)
  }

  async #sendEvents(signal: AbortSignal): Promise<void> {
    while (this.#publisher === undefined) await once(this.#answers, 'answer', { signal })
    const publisher = this.#publisher
    const stop = this.#options.catalogue.onEventsAppended(() => publisher.nudge())
    try {
      await publisher.run({ signal })
    } finally {
      stop()
    }
  }

  async #keepInSync(session: BrokerSession, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    while (!signal.aborted) {
      this.#syncWanted = false
      const waited = AbortSignal.any([signal, AbortSignal.timeout(SYNC_ANSWER_WAIT_MS)])
      const answer = once(this.#answers, 'answer', { signal: waited }).catch(() => undefined)
      const topic = topics.events(this.#options.enrolment.agentId)
      await session.publish(topic, this.#sign(await this.#buildSync(signal)), { qos: 1 })
      await answer
      for (let waitedMs = 0; waitedMs < SYNC_EVERY_MS && this.answered && !this.#syncWanted; waitedMs += 1000) {
        await clock.sleep(1000, { signal })
      }
    }
  }

  async #sendProgress(session: BrokerSession, signal: AbortSignal): Promise<void> {
    const { clock, progress, enrolment } = this.#options
    while (!signal.aborted) {
      await clock.sleep(PROGRESS_EVERY_MS, { signal })
      const jobs = progress.take()
      if (jobs.length === 0) continue
      const message = { kind: 'progress', version: 1, agentId: enrolment.agentId, jobs } as const
      await session.publish(topics.realtime(enrolment.agentId), this.#sign(message), { qos: 0 })
    }
  }

  async #buildSync(signal: AbortSignal): Promise<SyncRequest> {
    const { catalogue, enrolment, agentVersion } = this.#options
    const facts = await readSyncFacts(catalogue, { signal })
    return {
      kind: 'sync',
      version: 1,
      agentId: enrolment.agentId,
      ...this.#parts.syncs.next(),
      agentVersion,
      protocol: { min: PROTOCOL_VERSION, max: PROTOCOL_VERSION },
      capabilities: [...capabilities],
      ...facts,
      clock: this.#parts.corrected.beginRequest(),
    }
  }

  #requestSync(): void {
    this.#syncWanted = true
  }

  #sign(message: AgentMessage): string {
    return JSON.stringify(signEnvelope(payloadTypes.agentMessage, message, this.#options.identity.signingKey))
  }
}
