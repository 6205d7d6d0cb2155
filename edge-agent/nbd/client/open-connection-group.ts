import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { NbdEndpoint, NbdReconnect } from '../../block/block-endpoint.ts'
import { NBD_FLAG_CAN_MULTI_CONN } from '../wire/nbd-constants.ts'
import { ConnectionGroup, type NbdReconnected } from './connection-group.ts'
import type { NbdSession } from './handshake.ts'
import { IN_FLIGHT_MAX_DEFAULT, type NbdConnectOptions, openNbdConnection } from './nbd-connection.ts'
import { nameOfAddress } from './nbd-socket.ts'
import type { WriteLedger } from './write-ledger.ts'

const CONNECTIONS_MAX_DEFAULT = 4
/** A disk of less than this is done before a second connection is worth its handshake. */
const BYTES_PER_CONNECTION = 256 * 1024 * 1024
const RECONNECT_OFF: NbdReconnect = { forMs: 0, attemptsMax: 0 }
const RECONNECT_DEFAULT: NbdReconnect = { forMs: 120_000, attemptsMax: 30 }

export interface NbdOpenOptions extends NbdConnectOptions {
  /** Called each time a lost connection was replaced. */
  readonly onReconnect?: (event: NbdReconnected) => void
  readonly clock?: Clock
  /** Of delays between attempts: from 0 to 1. */
  readonly random?: () => number
}

/**
 * Connects to the export, as the endpoint's `connections`, `requestsInFlightMax` and `reconnect` say. Several connections
 * to a disk that is only read are always safe, since a source does not change; to one that is written they are where the
 * server says so.
 * @param ledger of a sink; absent: the disk is only read
 */
export async function openConnectionGroup(
  endpoint: NbdEndpoint,
  options: NbdOpenOptions,
  ledger?: WriteLedger,
): Promise<ConnectionGroup> {
  const { signal, connectTimeoutMs, idleTimeoutMs, onReconnect, clock = systemClock, random = Math.random } = options
  const timeouts = {
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
    ...(idleTimeoutMs === undefined ? {} : { idleTimeoutMs }),
  }
  const parts = {
    name: `${nameOfAddress(endpoint.address)} export "${endpoint.exportName}"`,
    dial: async (call: Pick<NbdConnectOptions, 'signal' | 'onLost'>) => {
      return await openNbdConnection(endpoint, { ...timeouts, ...call })
    },
    connectionsMax: (session: NbdSession) => connectionsMax(endpoint, session, ledger !== undefined),
    inFlightMax: endpoint.requestsInFlightMax ?? IN_FLIGHT_MAX_DEFAULT,
    patientFirst: endpoint.reconnect !== undefined,
    reconnect: endpoint.reconnect ?? (endpoint.address.transport === 'tcp' ? RECONNECT_DEFAULT : RECONNECT_OFF),
    ...(ledger === undefined ? {} : { ledger }),
    onReconnect,
    clock,
    random,
  }
  return await ConnectionGroup.open(parts, { signal })
}

/** How many connections may be opened to an export. */
export function connectionsMax(
  { connections }: Pick<NbdEndpoint, 'connections'>,
  { flags, sizeBytes }: Pick<NbdSession, 'flags' | 'sizeBytes'>,
  isWritten: boolean,
): number {
  const isOffered = (flags & NBD_FLAG_CAN_MULTI_CONN) !== 0
  if (isWritten && !isOffered) return 1
  if (connections !== undefined) return connections
  if (!isOffered) return 1
  return Math.max(1, Math.min(CONNECTIONS_MAX_DEFAULT, Math.ceil(sizeBytes / BYTES_PER_CONNECTION)))
}
