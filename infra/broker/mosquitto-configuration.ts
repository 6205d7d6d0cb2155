import path from 'node:path'

export interface BrokerConfigurationInputs {
  readonly port: number
  /** Holds fleet-ca.crt, broker.crt, broker.key. */
  readonly keysDir: string
  /** Where sessions and queued messages outlive a restart. */
  readonly dataDir: string
  /** Whom the broker runs as when it is started by root; it must be able to read its key. */
  readonly user: string
}

/** An absolute path: the broker refuses relative ones. */
const ACL_FILE = path.join(import.meta.dirname, 'acl')
const QUEUED_MESSAGES_MAX = 10_000
/** What an agent sends at most: the inventory of its largest host is one message. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024

/**
 * mosquitto.conf(5) of the fleet's broker: one listener with mutual TLS, the certificate's common name as the user, the
 * static ACL, and sessions that survive a restart.
 */
export function mosquittoConfiguration(inputs: BrokerConfigurationInputs): string {
  const key = (name: string): string => path.join(inputs.keysDir, name)
  return [
    `user ${inputs.user}`,
    'per_listener_settings false',
    'allow_anonymous false',
    `acl_file ${ACL_FILE}`,
    'persistence true',
    `persistence_location ${inputs.dataDir}/`,
    'autosave_interval 30',
    `max_queued_messages ${QUEUED_MESSAGES_MAX}`,
    `message_size_limit ${MESSAGE_BYTES_MAX}`,
    'log_dest stderr',
    'log_type error',
    'log_type warning',
    'log_type notice',
    `listener ${inputs.port} 127.0.0.1`,
    `cafile ${key('fleet-ca.crt')}`,
    `certfile ${key('broker.crt')}`,
    `keyfile ${key('broker.key')}`,
    'tls_version tlsv1.3',
    'require_certificate true',
    'use_identity_as_username true',
    '',
  ].join('\n')
}
