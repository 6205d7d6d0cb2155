import { cloudSubscriptions } from '@sendense/shared/contracts/topics.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import mqtt, { type MqttClient } from 'mqtt'
import type { CloudKeys } from './keys/key-directory.ts'

const KEEPALIVE_SECONDS = 30
const CONNECT_TIMEOUT_MS = 10_000
const RETRY = { baseMs: 500, capMs: 15_000 }
const RECEIVE_MAX = 100
const PUBLISH_TIMEOUT_MS = 15_000

/** The cloud's session with the broker. Connects again by itself, with jitter, for as long as it is open. */
export interface BrokerConnection extends AsyncDisposable {
  isConnected(): boolean
  /** QoS 1; resolves once the broker has it. Rejects with `agent.offline` where the broker is not reached. */
  publish(topic: string, payload: string): Promise<void>
}

export interface BrokerListener {
  /** Must return at once. */
  readonly onMessage: (topic: string, payload: Buffer) => void
  /** After every change; connected means subscribed too. */
  readonly onConnection: (connected: boolean) => void
}

export function openBrokerConnection(
  options: { url: string; keys: Pick<CloudKeys, 'fleetCa' | 'mqtt'>; logger: Logger },
  listener: BrokerListener,
): BrokerConnection {
  const { keys, logger } = options
  const client = mqtt.connect(options.url, {
    protocolVersion: 5,
    clientId: `cloud-${newId()}`,
    clean: true,
    ca: keys.fleetCa.certificate,
    cert: keys.mqtt.certificate,
    key: keys.mqtt.key,
    keepalive: KEEPALIVE_SECONDS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // Its own interval is fixed; a fleet needs jitter.
    reconnectPeriod: 0,
    queueQoSZero: false,
    properties: { receiveMaximum: RECEIVE_MAX },
  })
  let ready = false
  let attempt = 0
  let retry: NodeJS.Timeout | undefined
  let closing = false

  const setReady = (value: boolean): void => {
    if (ready === value) return
    ready = value
    listener.onConnection(value)
  }
  const onConnect = async (): Promise<void> => {
    try {
      await subscribeAll(client)
    } catch (error) {
      logger.warn({ error: String(error) }, 'the broker refused the subscriptions')
      client.end(true)
      return
    }
    attempt = 0
    logger.info({ broker: options.url }, 'connected to the broker')
    setReady(true)
  }
  client.on('connect', () => void onConnect())
  client.on('message', (topic, payload) => listener.onMessage(topic, payload))
  client.on('error', (error) => {
    // Once an outage: it may last for days.
    const log = attempt === 0 ? logger.warn.bind(logger) : logger.debug.bind(logger)
    log({ broker: options.url, error: error.message }, 'the broker is not reached')
  })
  client.on('close', () => {
    setReady(false)
    if (closing || retry !== undefined) return
    retry = setTimeout(
      () => {
        retry = undefined
        client.reconnect()
      },
      RETRY.baseMs + retryDelayMs(attempt, RETRY),
    )
    attempt += 1
  })

  return {
    isConnected: () => ready,
    async publish(topic, payload) {
      if (!ready) throw new PlatformError('agent.offline', 'the broker is not connected')
      const deadline = Promise.withResolvers<never>()
      const timer = setTimeout(
        () => deadline.reject(new PlatformError('agent.offline', 'the broker does not acknowledge')),
        PUBLISH_TIMEOUT_MS,
      )
      try {
        await Promise.race([client.publishAsync(topic, payload, { qos: 1 }), deadline.promise])
      } finally {
        clearTimeout(timer)
      }
    },
    async [Symbol.asyncDispose]() {
      closing = true
      clearTimeout(retry)
      await client.endAsync(true)
    },
  }
}

async function subscribeAll(client: MqttClient): Promise<void> {
  await client.subscribeAsync({
    [cloudSubscriptions.events]: { qos: 1 },
    [cloudSubscriptions.realtime]: { qos: 0 },
    [cloudSubscriptions.presence]: { qos: 1 },
  })
}
