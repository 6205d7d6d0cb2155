import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Retention, RetentionMode } from './object-store.ts'

export interface Protection {
  readonly retention?: Retention | undefined
  readonly legalHold: boolean
}

/**
 * Throws `storage.retention_refused` when `wanted` may not follow `present`: it would end earlier, has passed already,
 * or is of another mode.
 */
export function expectLonger(key: string, present: Retention | undefined, wanted: Retention, now: Date): void {
  const ends = wanted.retainUntil.getTime()
  if (!Number.isFinite(ends) || ends % 1000 !== 0) {
    throw new PlatformError('input.invalid', `object ${key}: a retention ends at a whole second`)
  }
  if (ends <= now.getTime()) throw refused(key, `${wanted.retainUntil.toISOString()} has passed already`)
  if (present === undefined || present.retainUntil <= now) return
  const until = present.retainUntil.toISOString()
  if (present.mode !== wanted.mode) {
    throw refused(key, `it is retained in ${present.mode} mode until ${until}, which does not change`)
  }
  if (present.retainUntil > wanted.retainUntil) {
    throw refused(key, `it is retained until ${until}, later than ${wanted.retainUntil.toISOString()}`)
  }
}

/** Throws `storage.immutable` while an object may not be deleted. `bypass`: who asks may lift governance. */
export function expectDeletable(key: string, protection: Protection, now: Date, { bypass }: { bypass: boolean }): void {
  const { retention, legalHold } = protection
  if (legalHold) throw immutable(key, 'it is under legal hold', { legalHold })
  if (retention === undefined || retention.retainUntil <= now) return
  if (bypass && retention.mode === 'governance') return
  const until = retention.retainUntil.toISOString()
  throw immutable(key, `it is retained in ${retention.mode} mode until ${until}`, { retainUntil: until })
}

/** The date at least a whole second: retentions are kept in seconds everywhere. Rounds up. */
export function toWholeSecond(date: Date): Date {
  return new Date(Math.ceil(date.getTime() / 1000) * 1000)
}

export function isRetentionMode(text: string): text is RetentionMode {
  return text === 'governance' || text === 'compliance'
}

function refused(key: string, why: string): PlatformError {
  return new PlatformError('storage.retention_refused', `the retention of object ${key} was not changed: ${why}`)
}

function immutable(key: string, why: string, details: Record<string, string | boolean>): PlatformError {
  return new PlatformError('storage.immutable', `object ${key} cannot be deleted or replaced: ${why}`, { details })
}
