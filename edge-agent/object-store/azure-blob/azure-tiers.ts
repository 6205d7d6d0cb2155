import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expectObjectKey } from '../object-key.ts'
import type { CallOptions, ObjectTier, ObjectTierFacts, ObjectTiers } from '../object-store.ts'
import type { AzureSession } from './azure-session.ts'

const NAMES = { hot: 'Hot', cool: 'Cool', archive: 'Archive' } as const
const TIERS: Readonly<Record<string, ObjectTier>> = { hot: 'hot', cool: 'cool', cold: 'cool', archive: 'archive' }

/** Access tiers of block blobs ("Set Blob Tier"). Cold is told as cool. */
export function openAzureTiers(session: AzureSession): ObjectTiers {
  const getTier = async (key: string, { signal }: CallOptions): Promise<ObjectTierFacts> => {
    expectObjectKey(key)
    const found = await session.request({ signal, what: `asking for the tier of object ${key}` }, async (options) =>
      session.blob(key).getProperties({ abortSignal: options.abortSignal }),
    )
    const tier = TIERS[(found.accessTier ?? 'Hot').toLowerCase()]
    if (tier === undefined) {
      throw new PlatformError('storage.refused', `object ${key} is in the unknown tier ${found.accessTier}`)
    }
    const target = /^rehydrate-pending-to-(hot|cool|cold)$/.exec(found.archiveStatus ?? '')?.[1]
    return target === undefined ? { tier } : { tier, rehydratingTo: target === 'hot' ? 'hot' : 'cool' }
  }
  return {
    getTier,
    setTier: async (key, tier, { signal }) => {
      const present = await getTier(key, { signal })
      if (present.tier === tier && present.rehydratingTo === undefined) return
      if (present.tier === 'archive') {
        throw new PlatformError('storage.archived', `object ${key} leaves the archive by rehydration only`)
      }
      await session.request({ signal, what: `moving object ${key} to the ${tier} tier` }, async (options) => {
        await session.blob(key).setAccessTier(NAMES[tier], { abortSignal: options.abortSignal })
      })
    },
    rehydrate: async (key, { signal, to, priority }) => {
      const present = await getTier(key, { signal })
      if (present.tier !== 'archive' || present.rehydratingTo !== undefined) return
      const rehydratePriority = priority === 'high' ? 'High' : 'Standard'
      await session.request({ signal, what: `rehydrating object ${key}` }, async ({ abortSignal }) => {
        await session.blob(key).setAccessTier(NAMES[to], { abortSignal, rehydratePriority })
      })
    },
  }
}
