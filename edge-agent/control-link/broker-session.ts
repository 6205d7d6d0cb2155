import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'

const CONNECT_TIMEOUT_MS = 15_000
const KEEPALIVE_S = 20
/** The broker keeps what the agent has not acknowledged so long; `sync` brings whatever it did not keep. */
const SESSION_EXPIRY_S = 24 * 3600
const WILL_DELAY_S = 45
const RECEIVE_MAX = 20
const PACKET_MAX_BYTES = 16 * 1024 * 1024

export interface BrokerSessionOptions {
  /** `mqtts://host:port` */
  readonly url: string
  readonly agentId: string
  /** All PEM. */
  readonly certificateChain: string
  readonly brokerCa: string
  readonly tlsKey: string
  readonly commandTopic: string
  readonly will: { readonly topic: string; readonly payload: string }
  /** The message is acknowledged when it resolves; when it rejects the session ends and the broker sends it again. */
  readonly onMessage: (payload: Uint8Array) => Promise<void>
  readonly signal: AbortSignal
}

/** One connection to the broker. It does not reconnect: who owns it opens another one. */
export interface BrokerSession extends AsyncDisposable {
  /** Resolves when the broker has it (QoS 1), or at once (QoS 0). Rejects with `agent.offline`. */
  publish(topic: string, payload: string, options: { qos: 0 | 1; retain?: boolean }): Promise<void>
  /** Resolves when the session is over, with why. Never rejects. */
  readonly ended: Promise<string>
}

/** Connects and subscribes. Rejects with `agent.offline`, or the signal's reason. */
export async function openBrokerSession(options: BrokerSessionOptions): Promise<BrokerSession> {
  options.signal.throwIfAborted()
  const client = mqtt.connect(options.url, clientOptions(options))
  let why = 'the connection was closed'
  const ended = new Promise<string>((resolve) => {
    client.on('error', (error) => {
      why = error.message
    })
    client.once('close', () => resolve(why))
  })
  client.handleMessage = (packet, done) => {
    if (packet.topic !== options.commandTopic) return done()
    const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload
    const takeIn = async (): Promise<void> => {
      try {
        await options.onMessage(payload)
      } catch (error) {
        why = `a message could not be taken in: ${String(error)}`
        client.end(true)
        return
      }
      done()
    }
    void takeIn()
  }
  try {
    await connected(client, ended, options.signal)
    await client.subscribeAsync(options.commandTopic, { qos: 1 })
  } catch (error) {
    client.end(true)
    options.signal.throwIfAborted()
    throw new PlatformError('agent.offline', `the broker ${options.url} does not take this agent: ${String(error)}`, {
      cause: error,
    })
  }
  // A packet that is under way when the session ends gets no answer of the library any more.
  const waiting = new Set<(error: Error) => void>()
  client.once('close', () => {
    const over = new PlatformError('agent.offline', `the session to the broker is over: ${why}`)
    for (const reject of waiting) reject(over)
    waiting.clear()
  })
  return {
    ended,
    async publish(topic, payload, { qos, retain = false }) {
      // Without a connection the library would keep it for a later one; this session has none.
      if (!client.connected) throw new PlatformError('agent.offline', 'the session to the broker is over')
      await new Promise<void>((resolve, reject) => {
        waiting.add(reject)
        client.publish(topic, payload, { qos, retain }, (error) => {
          waiting.delete(reject)
          if (error) reject(new PlatformError('agent.offline', `the broker did not take it: ${error.message}`))
          else resolve()
        })
      })
    },
    async [Symbol.asyncDispose]() {
      client.end(true)
      await ended
    },
  }
}

function clientOptions(options: BrokerSessionOptions): IClientOptions {
  return {
    protocolVersion: 5,
    clientId: options.agentId,
    clean: false,
    reconnectPeriod: 0,
    connectTimeout: CONNECT_TIMEOUT_MS,
    keepalive: KEEPALIVE_S,
    queueQoSZero: false,
    resubscribe: false,
    cert: options.certificateChain,
    key: options.tlsKey,
    ca: options.brokerCa,
    properties: {
      sessionExpiryInterval: SESSION_EXPIRY_S,
      receiveMaximum: RECEIVE_MAX,
      maximumPacketSize: PACKET_MAX_BYTES,
    },
    will: {
      topic: options.will.topic,
      payload: Buffer.from(options.will.payload),
      qos: 1,
      retain: true,
      properties: { willDelayInterval: WILL_DELAY_S },
    },
  }
}

async function connected(client: MqttClient, ended: Promise<string>, signal: AbortSignal): Promise<void> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)])
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve())
    deadline.addEventListener('abort', () => reject(deadline.reason as Error), { once: true })
    void ended.then((why) => reject(new Error(why)))
  })
}
