import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { ApiServices } from './api/api-context.ts'
import type { CloudConfig } from './config.ts'
import { type Database, openDatabase } from './db/database.ts'
import { createAgentDirectory } from './fleet/agent-directory.ts'
import { createCloudSigner } from './fleet/cloud-signer.ts'
import { createCommandPublisher } from './fleet/command-publisher.ts'
import { createEnrolment } from './fleet/enrolment.ts'
import { type FleetLink, openFleetLink } from './fleet/fleet-link.ts'
import { type CloudKeys, loadCloudKeys } from './fleet/keys/key-directory.ts'
import { createPresenceBoard } from './fleet/presence-board.ts'
import { createApiServer, type HealthReport } from './http/api-server.ts'
import { createAttemptLimiter } from './identity/attempt-limiter.ts'
import { createLogIn } from './identity/log-in.ts'
import { createOriginPolicy, isLoopbackHost } from './identity/request-origin.ts'
import { createSessionService } from './identity/session-service.ts'
import { startSweeper } from './jobs/sweeper.ts'
import { createInProcessLiveBus } from './live/live-bus.ts'
import { createProgressBoard } from './live/progress-board.ts'

const ENROLMENTS_PER_MINUTE = 30
const now = (): Date => new Date()

/** A running cloud node. Disposing it ends its connections in the reverse order. */
export interface Cloud extends AsyncDisposable {
  /** Port it listens on. */
  readonly port: number
  readonly logger: Logger
}

/** Everything is put together here, and only here. Rejects with `config.invalid`, `database.unavailable`. */
export async function startCloud(config: CloudConfig, logger: Logger): Promise<Cloud> {
  await using stack = new AsyncDisposableStack()
  const keys = await loadCloudKeys(config.keysDirectory)
  const database = stack.use(
    await openDatabase({ url: config.databaseUrl, systemUrl: config.systemDatabaseUrl, logger }),
  )
  const publicUrl = new URL(config.publicUrl)
  const secureCookie = publicUrl.protocol === 'https:' || !isLoopbackHost(publicUrl.hostname)
  const sessions = createSessionService(database, { secureCookie })
  const live = createInProcessLiveBus()
  const progress = createProgressBoard()
  const presence = createPresenceBoard(now)
  const link = stack.use(openLink({ config, logger, keys, database, live, progress, presence, now }))
  const nudge = (agentId: string): void => link.nudge(agentId)
  stack.use(startSweeper({ database, live, nudge, now, logger, deleteExpiredSessions: () => sessions.deleteExpired() }))
  const logIn = createLogIn({ database, sessions, now })
  const services: ApiServices = { database, sessions, logIn, live, progress, presence, nudge, now, logger }
  const { server, close } = createApiServer({
    services,
    origins: createOriginPolicy(config.publicUrl),
    publicUrl: config.publicUrl,
    dashboardUrl: config.dashboardUrl,
    enrol: {
      enrol: createEnrolment({ database, keys, brokerUrls: config.agentBrokerUrls, now }),
      limiter: createAttemptLimiter({ attemptsMax: ENROLMENTS_PER_MINUTE, windowMs: 60_000, now: Date.now }),
      logger,
    },
    health: () => checkHealth(database, link, logger),
  })
  stack.defer(close)
  server.listen(config.listenPort, config.listenHost)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  logger.info({ host: config.listenHost, port, publicUrl: config.publicUrl }, 'the cloud is up')
  const owned = stack.move()
  return { port, logger, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

type LinkParts = Pick<ApiServices, 'database' | 'live' | 'progress' | 'presence' | 'now' | 'logger'> & {
  config: CloudConfig
  keys: CloudKeys
}

function openLink({ config, ...parts }: LinkParts): FleetLink {
  const { database } = parts
  const signer = createCloudSigner(parts.keys)
  return openFleetLink({
    ...parts,
    brokerUrl: config.brokerUrl,
    signer,
    directory: createAgentDirectory(database, Date.now),
    publisher: createCommandPublisher({ database, signer, now }),
  })
}

async function checkHealth(database: Database, link: FleetLink, logger: Logger): Promise<HealthReport> {
  const broker = link.isConnected() ? 'ok' : 'disconnected'
  try {
    await database.withSystem('health check', () => Promise.resolve())
  } catch (error) {
    logger.warn({ err: error }, 'the health check failed')
    return { status: 'failed', database: 'failed', broker }
  }
  return { status: broker === 'ok' ? 'ok' : 'degraded', database: 'ok', broker }
}
