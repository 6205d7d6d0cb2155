import {
  GetObjectLegalHoldCommand,
  GetObjectRetentionCommand,
  PutObjectLegalHoldCommand,
  PutObjectRetentionCommand,
} from '@aws-sdk/client-s3'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { expectObjectKey } from '../object-key.ts'
import type { CallOptions, ObjectImmutability, Retention } from '../object-store.ts'
import { expectLonger } from '../retention-rule.ts'
import { deleteVersions } from './s3-delete.ts'
import type { S3Session } from './s3-session.ts'

export interface S3ImmutabilityParts {
  readonly put: ObjectImmutability['put']
  readonly clock: Pick<Clock, 'now'>
}

/**
 * Object Lock of a bucket (Amazon S3 User Guide, "Locking objects with Object Lock"). Retentions and holds are those of the
 * current version: the one that `get` answers with.
 */
export function openS3Immutability(session: S3Session, { put, clock }: S3ImmutabilityParts): ObjectImmutability {
  const { client } = session
  const findRetention = async (key: string, { signal }: CallOptions): Promise<Retention | undefined> => {
    expectObjectKey(key)
    const command = new GetObjectRetentionCommand(session.path(key))
    const found = await session
      .request({ signal, what: `reading the retention of object ${key}` }, async (o) => await client.send(command, o))
      .catch(undefinedWhereNone)
    return toRetention(key, found?.Retention)
  }
  return {
    put: async (key, body, options) => {
      expectLonger(key, undefined, options.retention, clock.now())
      await put(key, body, options)
    },
    findRetention,
    setRetention: async (key, retention, { signal }) => {
      // Amazon answers AccessDenied to a date that is too early, as it does to who has no right.
      expectLonger(key, await findRetention(key, { signal }), retention, clock.now())
      const Mode = retention.mode === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE'
      const command = new PutObjectRetentionCommand({
        ...session.path(key),
        Retention: { Mode, RetainUntilDate: retention.retainUntil },
      })
      await session.request({ signal, what: `retaining object ${key}` }, async (o) => await client.send(command, o))
    },
    setLegalHold: async (key, held, { signal }) => {
      expectObjectKey(key)
      const command = new PutObjectLegalHoldCommand({
        ...session.path(key),
        LegalHold: { Status: held ? 'ON' : 'OFF' },
      })
      await session.request({ signal, what: `holding object ${key}` }, async (o) => await client.send(command, o))
    },
    hasLegalHold: async (key, { signal }) => {
      expectObjectKey(key)
      const command = new GetObjectLegalHoldCommand(session.path(key))
      const found = await session
        .request({ signal, what: `reading the hold on object ${key}` }, async (o) => await client.send(command, o))
        .catch(undefinedWhereNone)
      return found?.LegalHold?.Status === 'ON'
    },
    deleteBypassingGovernance: async (key, { signal }) => {
      expectObjectKey(key)
      await deleteVersions(session, key, { signal, bypassGovernance: true })
    },
  }
}

/** An object without a retention or hold is answered like an object that is not there, with another code. */
function undefinedWhereNone(error: unknown): undefined {
  const s3Code = isPlatformError(error) ? error.details['s3Code'] : undefined
  if (s3Code === 'NoSuchObjectLockConfiguration' || s3Code === 'ObjectLockConfigurationNotFoundError') return undefined
  throw error
}

function toRetention(
  key: string,
  found: { Mode?: string | undefined; RetainUntilDate?: Date | undefined } | undefined,
): Retention | undefined {
  const { Mode, RetainUntilDate } = found ?? {}
  if (Mode === undefined || RetainUntilDate === undefined) return undefined
  const mode = Mode.toLowerCase()
  if (mode !== 'compliance' && mode !== 'governance') {
    throw new PlatformError('storage.refused', `object ${key} is retained in the unknown mode ${Mode}`)
  }
  return { mode, retainUntil: RetainUntilDate }
}
