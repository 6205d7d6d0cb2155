import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from './block/block-source.ts'
import type { Catalogue } from './catalog/catalogue.ts'
import type { EdgeAgentConfig } from './config.ts'
import { AlertBook } from './control-link/alert-book.ts'
import { CaptureAccess } from './jobs/capture-access.ts'
import { type Refusal, TunnelServer } from './tunnel/tunnel-server.ts'

export interface OpenTunnelOptions extends CallOptions {
  readonly config: Pick<EdgeAgentConfig, 'stateDir' | 'runtimeDir' | 'tunnel'>
  readonly catalogue: Catalogue
  readonly clock: Clock
  readonly logger: Logger
  readonly newId: () => string
}

/** Who may connect, and the server they connect to; the server is absent where no port is configured. */
export interface OpenTunnel extends AsyncDisposable {
  readonly access: CaptureAccess
  readonly server: TunnelServer | undefined
}

/** Where capture agents connect to. What is refused there is logged, and an alert: one a minute of each code. */
export async function openTunnel(options: OpenTunnelOptions): Promise<OpenTunnel> {
  const { config, catalogue, clock, logger, newId, signal } = options
  const access = new CaptureAccess({ catalogue, clock, newId })
  const alerts = new AlertBook({ catalogue, clock, logger, newId })
  const onRefused = (refusal: Refusal): void => {
    logger.warn({ ...refusal }, 'refused at the tunnel')
    alerts.raise(toError(refusal), isGrave(refusal) ? 'critical' : 'warning', { signal }).catch((error: unknown) => {
      if (!signal.aborted) logger.error({ err: error }, 'an alert could not be kept')
    })
  }
  const server =
    config.tunnel === undefined
      ? undefined
      : await TunnelServer.open({
          port: config.tunnel.port,
          ...(config.tunnel.host === undefined ? {} : { host: config.tunnel.host }),
          stateDir: config.stateDir,
          runtimeDir: config.runtimeDir,
          grants: access,
          clock,
          logger,
          onRefused,
        })
  return {
    access,
    server,
    async [Symbol.asyncDispose]() {
      await server?.[Symbol.asyncDispose]()
    },
  }
}

const codeOf = {
  login: 'tunnel.login_refused',
  request: 'tunnel.request_refused',
  flood: 'tunnel.rate_limited',
  fault: 'tunnel.process_failed',
} as const satisfies Record<Refusal['kind'], string>

function toError({ kind, what, address, at, captureAgentId, name }: Refusal): PlatformError {
  const who = name === undefined ? address : `capture agent ${name} at ${address}`
  const details = { address, at: at.toISOString(), ...(captureAgentId === undefined ? {} : { captureAgentId }) }
  const message = kind === 'fault' ? `the connection of ${who} was ended: ${what}` : `refused to ${who}: ${what}`
  return new PlatformError(codeOf[kind], message, { details })
}

/** Who got this far is let in, or has found a way. */
function isGrave({ kind }: Refusal): boolean {
  return kind === 'request' || kind === 'fault'
}
