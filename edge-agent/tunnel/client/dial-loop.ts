import { PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import type { Ed25519Key } from '../ssh/ed25519-key.ts'
import type { TransportTimes } from '../ssh/ssh-transport.ts'
import { CAPTURE_USER } from '../tunnel-users.ts'
import type { ClientSession } from './client-session.ts'
import type { LocalTarget } from './dial-messages.ts'
import { logIn } from './log-in.ts'

export interface DialOptions {
  readonly address: { readonly host: string; readonly port: number }
  readonly hostKeyFingerprint: string
  readonly key: Ed25519Key
  readonly ports: readonly number[]
  readonly findTarget: (port: number) => LocalTarget | undefined
  readonly times: TransportTimes
  readonly retry: { readonly baseMs: number; readonly capMs: number }
  readonly clock: Clock
  /** Connected, with an error where not all ports were granted; or not connected, with the reason. */
  readonly onState: (isConnected: boolean, error: PlatformError | undefined) => void
  readonly signal: AbortSignal
}

/** Keeps one tunnel up until `signal` aborts; never rejects. Needs `ssh2Loaded`. */
export async function keepDialing(options: DialOptions): Promise<void> {
  const { clock, retry, signal, onState } = options
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      await runOnce(options, () => {
        attempt = -1
      })
    } catch (error) {
      if (signal.aborted) return
      onState(false, toPlatformError(error))
    }
    const delayMs = retryDelayMs(Math.max(attempt, 0), retry)
    await clock.sleep(delayMs, { signal }).catch(() => undefined)
  }
}

/** One connection from its beginning to its end; rejects with why it was not made, or ended. */
async function runOnce(options: DialOptions, onConnected: () => void): Promise<void> {
  const { ports, signal, onState } = options
  const { promise: ended, reject } = Promise.withResolvers<never>()
  ended.catch(() => undefined)
  const session = await logIn({
    ...options,
    userName: CAPTURE_USER,
    onEnded: (error) => reject(error ?? new PlatformError('tunnel.disconnected', 'the edge agent ended the tunnel')),
  })
  const onAbort = (): void => session.close()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const declined = await forwardAll(session, ports)
    onConnected()
    onState(
      true,
      declined.length === 0
        ? undefined
        : new PlatformError('tunnel.port_not_granted', `not granted: port ${declined.join(', ')}`),
    )
    await ended
  } finally {
    signal.removeEventListener('abort', onAbort)
    session.close()
  }
}

/** Returns the ports that were not granted. */
async function forwardAll(session: ClientSession, ports: readonly number[]): Promise<number[]> {
  const declined: number[] = []
  for (const port of ports) {
    if (!(await session.forward(port))) declined.push(port)
  }
  return declined
}
