const prefix = 'sd/v1/a'

/** MQTT topics of one agent. `agentId` is a UUID, so it needs no escaping. */
export const topics = {
  /** cloud → agent, QoS 1 */
  commands: (agentId: string) => `${prefix}/${agentId}/cmd`,
  /** agent → cloud, QoS 1: event batches and sync */
  events: (agentId: string) => `${prefix}/${agentId}/evt`,
  /** agent → cloud, QoS 0: progress */
  realtime: (agentId: string) => `${prefix}/${agentId}/rt`,
  /** agent → cloud, QoS 1, retained, with will */
  presence: (agentId: string) => `${prefix}/${agentId}/up`,
} as const

/** What a cloud node subscribes to; the group makes nodes share the load. */
export const cloudSubscriptions = {
  events: `$share/cloud/${prefix}/+/evt`,
  realtime: `${prefix}/+/rt`,
  presence: `${prefix}/+/up`,
} as const

/** Agent and channel of a topic, or undefined where it is none of ours. */
export function parseTopic(topic: string): { agentId: string; channel: 'cmd' | 'evt' | 'rt' | 'up' } | undefined {
  const match = /^sd\/v1\/a\/([0-9a-f-]{36})\/(cmd|evt|rt|up)$/.exec(topic)
  if (match?.[1] === undefined || match[2] === undefined) return undefined
  return { agentId: match[1], channel: match[2] as 'cmd' | 'evt' | 'rt' | 'up' }
}
