import { setTimeout as delay } from 'node:timers/promises'
import type { ConsistencyLevel } from '@sendense/shared/domain/consistency.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { QgaClient } from '../../qemu/qga-client.ts'

const CONNECT_TIMEOUT_MS = 5000
const FREEZE_TIMEOUT_MS = 10_000
/** The longest that file systems stay frozen for the instant to be taken. */
const FROZEN_MAX_MS = 5000
const THAW_TIMEOUT_MS = 10_000
const THAW_ATTEMPTS_MAX = 6
const THAW_PAUSE_MS = 500

/** The file systems of one guest. */
export interface GuestFreezer {
  /** As `VmHost.freezeGuest`. */
  freeze(options: CallOptions & { readonly maxMs: number }): Promise<boolean>
  /** As `VmHost.thawGuest`. */
  thaw(attemptsMax?: number): Promise<number>
}

/** Freezes and thaws through the guest agent's socket. It has no watchdog: what it froze its caller thaws. */
export function openGuestFreezer(socketPath: string): GuestFreezer {
  return {
    freeze: async (options) => await freeze(socketPath, options),
    thaw: async (attemptsMax) => await thawGuest(socketPath, attemptsMax),
  }
}

/**
 * Runs `instant` with the guest's file systems frozen where its agent can do that, and thaws them whatever happens.
 * `instant` gets the milliseconds it may take. A guest that cannot be frozen is backed up as it runs: the returned
 * consistency says so.
 * Rejects as `instant`, or with `source.snapshot_failed` when the guest could not be thawed again.
 */
export async function withFrozenGuest<T>(
  freezer: GuestFreezer,
  instant: (timeoutMs: number) => Promise<T>,
  options: CallOptions,
): Promise<{ readonly value: T; readonly consistency: ConsistencyLevel }> {
  const frozen = await freezer.freeze({ ...options, maxMs: FROZEN_MAX_MS })
  try {
    const value = await instant(FROZEN_MAX_MS)
    const held = frozen && (await freezer.thaw()) > 0
    return { value, consistency: held ? 'filesystem' : 'crash' }
  } catch (error) {
    if (frozen) await freezer.thaw()
    throw error
  }
}

/**
 * Thaws a guest that may be frozen; returns how many file systems were. Not bound to a caller's signal: no
 * cancellation leaves a guest frozen. Rejects with `source.snapshot_failed` when its agent does not answer.
 */
export async function thawGuest(socketPath: string, attemptsMax = THAW_ATTEMPTS_MAX): Promise<number> {
  let last: unknown
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    if (attempt > 0) await delay(THAW_PAUSE_MS)
    const options = { signal: AbortSignal.timeout(2 * THAW_TIMEOUT_MS), timeoutMs: THAW_TIMEOUT_MS }
    try {
      await using agent = await QgaClient.connect(socketPath, options)
      return (await agent.isFrozen(options)) ? await agent.thaw(options) : 0
    } catch (error) {
      last = error
      if (isUnknownCommand(error)) break
    }
  }
  throw new PlatformError('source.snapshot_failed', 'the file systems of the guest could not be thawed', {
    cause: last,
  })
}

/** False where nothing could be frozen. An agent that answers too late is told to thaw before anything else. */
async function freeze(socketPath: string, { signal }: CallOptions): Promise<boolean> {
  let asked = false
  try {
    await using agent = await QgaClient.connect(socketPath, { signal, timeoutMs: CONNECT_TIMEOUT_MS })
    asked = true
    return (await agent.freeze({ signal, timeoutMs: FREEZE_TIMEOUT_MS })) > 0
  } catch (error) {
    if (asked) await undoFreeze(socketPath, error)
    signal.throwIfAborted()
    return false
  }
}

/**
 * An agent that does not know the freeze froze nothing. But a frozen one forbids all except status and thaw, and refuses
 * a second freeze in the same words; so it is thawed too, and only one that knows neither is left alone.
 */
async function undoFreeze(socketPath: string, refusal: unknown): Promise<void> {
  try {
    await thawGuest(socketPath)
  } catch (error) {
    const knowsNone = isUnknownCommand(refusal) && error instanceof Error && isUnknownCommand(error.cause)
    if (!knowsNone) throw error
  }
}

/** QEMU Guest Agent: the class of commands that do not exist, are disabled by its configuration or for now. */
function isUnknownCommand(error: unknown): boolean {
  return isPlatformError(error, 'qemu.command_failed') && error.details['class'] === 'CommandNotFound'
}
