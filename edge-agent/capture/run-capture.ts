import { systemClock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from '../block/block-source.ts'
import { TunnelClient } from '../tunnel/tunnel-client.ts'
import { openCaptureAgent } from './capture-agent.ts'
import { readIdentity } from './capture-identity.ts'

export interface RunCaptureOptions extends CallOptions {
  readonly version: string
  readonly kvm: { readonly rootDir: string; readonly runtimeDir: string }
  readonly stateDir: string
  /** SSH connections side by side. */
  readonly tunnels: number
  readonly logger: Logger
}

/**
 * The capture agent's process, from its identity to its end. Resolves after `signal` aborted, when guests are thawed and
 * nothing leads here any more. Rejects where it cannot begin: `capture.not_enrolled`, `capture.already_running`,
 * `config.invalid`.
 */
export async function runCapture({
  kvm,
  stateDir,
  tunnels,
  version,
  logger,
  signal,
}: RunCaptureOptions): Promise<void> {
  const identity = await readIdentity(stateDir)
  const { captureAgentId, name, host, port, hostKey, ports, key } = identity
  const log = logger.child({ captureAgentId })
  log.info({ version, name, host, port, tunnels, root: kvm.rootDir }, 'the capture agent begins')
  await using tunnel = new TunnelClient({
    address: { host, port },
    hostKeyFingerprint: hostKey,
    key,
    ports,
    tunnels,
    clock: systemClock,
    logger: log,
  })
  await using _agent = await openCaptureAgent({
    hostName: name,
    version,
    kvm,
    stateDir,
    ports,
    setTarget: async (tunnelPort, target) => await tunnel.setTarget(tunnelPort, target),
    tunnelState: () => tunnel.state,
    logger: log,
  })
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  log.info({}, 'the capture agent ends')
}
