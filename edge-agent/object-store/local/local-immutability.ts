import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions, ObjectImmutability } from '../object-store.ts'
import { expectLonger } from '../retention-rule.ts'
import type { LocalWriter } from './local-writer.ts'
import type { ProtectionSidecars } from './protection-sidecar.ts'

export interface LocalImmutabilityParts {
  readonly writer: LocalWriter
  readonly sidecars: ProtectionSidecars
  readonly clock: Pick<Clock, 'now'>
  /** Rejects with `storage.not_found`. */
  readonly expectObject: (key: string, options: CallOptions) => Promise<void>
}

/** Retentions and holds of a local store, kept in sidecars. */
export function openImmutability({
  writer,
  sidecars,
  clock,
  expectObject,
}: LocalImmutabilityParts): ObjectImmutability {
  const read = async (key: string, options: CallOptions) =>
    await writer.changing(key, options, async () => {
      await expectObject(key, options)
      return await sidecars.read(key, options)
    })
  return {
    put: async (key, body, options) => await writer.put(key, body, options),
    setRetention: async (key, retention, options) =>
      await writer.changing(key, options, async () => {
        await expectObject(key, options)
        const present = await sidecars.read(key, options)
        expectLonger(key, present.retention, retention, clock.now())
        await sidecars.write(key, { ...present, retention }, options)
      }),
    findRetention: async (key, options) => (await read(key, options)).retention,
    setLegalHold: async (key, legalHold, options) =>
      await writer.changing(key, options, async () => {
        await expectObject(key, options)
        const present = await sidecars.read(key, options)
        await sidecars.write(key, { ...present, legalHold }, options)
      }),
    hasLegalHold: async (key, options) => (await read(key, options)).legalHold,
    deleteBypassingGovernance: async (key, options) => await writer.delete(key, { ...options, bypass: true }),
  }
}
