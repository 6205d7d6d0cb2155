import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../object-store.ts'
import { expectDeletable } from '../retention-rule.ts'
import type { AzureSession } from './azure-session.ts'
import { type AzureVersion, listVersions } from './azure-versions.ts'

/** In an account without versions. Resolves with the version's id when it turns out that there are some. */
export async function deleteBlob(session: AzureSession, key: string, { signal }: CallOptions): Promise<void> {
  await session.request({ signal, what: `deleting object ${key}` }, async ({ abortSignal }) => {
    await session.blob(key).deleteIfExists({ abortSignal, deleteSnapshots: 'include' })
  })
}

/**
 * Deletes every version of a key, after a look at all of them: while one is protected, the object stays as it is. The current
 * version cannot be deleted by its id; it is made a former one first ("Delete Blob", versioning).
 */
export async function deleteVersions(
  session: AzureSession,
  key: string,
  { signal, bypassGovernance, clock }: CallOptions & { bypassGovernance: boolean; clock: Pick<Clock, 'now'> },
): Promise<void> {
  const versions = await versionsOf(session, key, { signal })
  for (const version of versions) expectDeletable(key, version, clock.now(), { bypass: bypassGovernance })
  if (bypassGovernance) {
    for (const { versionId, retention } of versions) {
      if (retention === undefined || retention.retainUntil <= clock.now()) continue
      await session.request({ signal, what: `lifting the retention of object ${key}` }, async ({ abortSignal }) => {
        await session.blob(key, versionId).deleteImmutabilityPolicy({ abortSignal })
      })
    }
  }
  if (versions.some(({ current }) => current)) await deleteBlob(session, key, { signal })
  for (const { versionId } of versions) {
    try {
      await session.request({ signal, what: `deleting object ${key}` }, async ({ abortSignal }) => {
        await session.blob(key, versionId).delete({ abortSignal })
      })
    } catch (error) {
      if (!isPlatformError(error, 'storage.not_found')) throw error
    }
  }
}

async function versionsOf(session: AzureSession, key: string, options: CallOptions): Promise<AzureVersion[]> {
  const found: AzureVersion[] = []
  for await (const page of listVersions(session, key, options)) {
    found.push(...page.filter((version) => version.key === key))
    if (page.some((version) => version.key > key)) break
  }
  return found.toReversed()
}
