import { topics } from '@sendense/shared/contracts/topics.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import { AlertBook } from './alert-book.ts'
import { type BrokerSession, openBrokerSession } from './broker-session.ts'
import { CommandReceiver } from './command-receiver.ts'
import { type ControlLinkOptions, Conversation } from './conversation.ts'
import { CorrectedClock } from './corrected-clock.ts'
import { SyncNumbers } from './sync-numbers.ts'

const RECONNECT_BASE_MS = 1000
const RECONNECT_CAP_MS = 5 * 60_000
/** A message that cannot become durable so soon ends the session; the broker keeps it and sends it again. */
const TAKE_IN_TIMEOUT_MS = 10_000

/**
 * The agent's side of the conversation with the cloud. Work never waits for it: commands come in through the durable
 * inbox, everything the agent has to say waits in the outbox until a session stands.
 */
export class ControlLink {
  readonly #options: ControlLinkOptions
  readonly #corrected: CorrectedClock
  readonly #alerts: AlertBook
  readonly #receiver: CommandReceiver
  readonly #syncs: SyncNumbers

  constructor(options: ControlLinkOptions) {
    const { catalogue, enrolment, bootEpoch, clock, logger, newId, onCommand } = options
    this.#options = options
    this.#corrected = new CorrectedClock(clock)
    this.#syncs = new SyncNumbers(catalogue, bootEpoch)
    this.#alerts = new AlertBook({ catalogue, clock, logger, newId })
    this.#receiver = new CommandReceiver({
      catalogue,
      agentId: enrolment.agentId,
      tenantId: enrolment.tenantId,
      clock: this.#corrected,
      alerts: this.#alerts,
      logger,
      onReceived: onCommand,
    })
  }

  /** Connects, and connects again with full jitter, until `signal` aborts. Never rejects. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { clock, enrolment, logger } = this.#options
    for (let attempt = 0, turn = 0; !signal.aborted; attempt++, turn++) {
      const url = enrolment.brokerUrls[turn % enrolment.brokerUrls.length]
      if (url === undefined) return
      try {
        const spoke = await this.#runSession(url, signal)
        if (spoke) attempt = 0
      } catch (error) {
        if (!signal.aborted) logger.warn({ url, attempt, err: error }, 'no session to the cloud')
      }
      const delayMs = retryDelayMs(attempt, { baseMs: RECONNECT_BASE_MS, capMs: RECONNECT_CAP_MS })
      await clock.sleep(delayMs, { signal }).catch(() => undefined)
    }
  }

  /** Resolves when the session is over: true where the cloud had answered. */
  async #runSession(url: string, signal: AbortSignal): Promise<boolean> {
    const { logger } = this.#options
    const conversation = new Conversation(this.#options, {
      corrected: this.#corrected,
      receiver: this.#receiver,
      alerts: this.#alerts,
      syncs: this.#syncs,
    })
    await using session = await this.#open(url, conversation, signal)
    logger.info({ url }, 'connected to the broker')
    const over = new AbortController()
    void session.ended.then((why) => over.abort(new PlatformError('agent.offline', why)))
    const running = AbortSignal.any([signal, over.signal])
    try {
      await conversation.run(session, running)
    } catch (error) {
      if (!running.aborted) throw error
    }
    if (signal.aborted) await conversation.sayGoodbye(session)
    else logger.warn({ url, why: String(over.signal.reason) }, 'the session to the broker is over')
    return conversation.answered
  }

  async #open(url: string, conversation: Conversation, signal: AbortSignal): Promise<BrokerSession> {
    const { enrolment, identity } = this.#options
    return await openBrokerSession({
      url,
      agentId: enrolment.agentId,
      certificateChain: enrolment.certificateChain,
      brokerCa: enrolment.brokerCa,
      tlsKey: identity.tlsKey,
      commandTopic: topics.commands(enrolment.agentId),
      will: { topic: topics.presence(enrolment.agentId), payload: conversation.presence('offline') },
      onMessage: async (payload) => {
        const deadline = AbortSignal.timeout(TAKE_IN_TIMEOUT_MS)
        await conversation.takeIn(payload, AbortSignal.any([signal, deadline]))
      },
      signal,
    })
  }
}
