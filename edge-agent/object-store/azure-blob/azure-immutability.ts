import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { expectObjectKey } from '../object-key.ts'
import type { CallOptions, ObjectImmutability } from '../object-store.ts'
import { expectLonger } from '../retention-rule.ts'
import { deleteVersions } from './azure-delete.ts'
import type { AzureSession } from './azure-session.ts'
import { toPolicy } from './azure-upload.ts'
import { toRetention } from './azure-versions.ts'

export interface AzureImmutabilityParts {
  readonly put: ObjectImmutability['put']
  readonly clock: Pick<Clock, 'now'>
}

/**
 * Version-level immutability of a container (Azure Storage documentation, "Version-level WORM policies for immutable blob
 * data"): governance is an unlocked policy, compliance a locked one. They are those of the current version.
 */
export function openAzureImmutability(session: AzureSession, parts: AzureImmutabilityParts): ObjectImmutability {
  const { put, clock } = parts
  const properties = async (key: string, { signal }: CallOptions) => {
    expectObjectKey(key)
    return await session.request({ signal, what: `reading the protection of object ${key}` }, async ({ abortSignal }) =>
      session.blob(key).getProperties({ abortSignal }),
    )
  }
  const findRetention = async (key: string, options: CallOptions) => {
    const found = await properties(key, options)
    return toRetention(key, found.immutabilityPolicyExpiresOn, found.immutabilityPolicyMode)
  }
  return {
    put: async (key, body, options) => {
      expectLonger(key, undefined, options.retention, clock.now())
      await put(key, body, options)
    },
    findRetention,
    setRetention: async (key, retention, options) => {
      // The service lets an unlocked policy be shortened.
      expectLonger(key, await findRetention(key, options), retention, clock.now())
      await session.request({ ...options, what: `retaining object ${key}` }, async ({ abortSignal }) => {
        await session.blob(key).setImmutabilityPolicy(toPolicy(retention), { abortSignal })
      })
    },
    setLegalHold: async (key, held, options) => {
      expectObjectKey(key)
      await session.request({ ...options, what: `holding object ${key}` }, async ({ abortSignal }) => {
        await session.blob(key).setLegalHold(held, { abortSignal })
      })
    },
    hasLegalHold: async (key, options) => (await properties(key, options)).legalHold === true,
    deleteBypassingGovernance: async (key, { signal }) => {
      expectObjectKey(key)
      await deleteVersions(session, key, { signal, bypassGovernance: true, clock })
    },
  }
}
