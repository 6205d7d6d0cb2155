import { type Guarantee, guarantee, type GuaranteeContext, guaranteeRefused, guaranteeSame } from './guarantee.ts'
import type { ObjectTiers } from './object-store.ts'

/** What stores with tiers promise. */
export const tierGuarantees: readonly Guarantee[] = [
  {
    promise: 'an object can be read in the hot and in the cool tier',
    needs: 'tiers',
    run: async (context) => {
      const { store, prefix, signal, randomBytes } = context
      const tiers = abilityOf(context)
      const key = `${prefix}cool`
      const body = randomBytes(1000)
      await store.put(key, body, { signal })
      for (const tier of ['cool', 'hot', 'hot', 'cool'] as const) {
        await tiers.setTier(key, tier, { signal })
        const facts = await tiers.getTier(key, { signal })
        guarantee(facts.tier === tier && facts.rehydratingTo === undefined, `in ${tier}: ${JSON.stringify(facts)}`)
        guaranteeSame(await store.get(key, { signal }), body, `${key} in ${tier}`)
      }
    },
  },
  {
    promise: 'an archived object is found, listed and deleted, not read; it comes back by rehydration only',
    needs: 'tiers',
    run: async (context) => {
      const { store, prefix, signal } = context
      const tiers = abilityOf(context)
      const key = `${prefix}archived`
      await store.put(key, Buffer.from('deep'), { signal })
      await tiers.rehydrate(key, { signal, to: 'hot', priority: 'standard' })
      await tiers.setTier(key, 'archive', { signal })
      guarantee((await tiers.getTier(key, { signal })).tier === 'archive', 'it is not in the archive')
      await guaranteeRefused(store.get(key, { signal }), 'storage.archived', 'getting it')
      await guaranteeRefused(store.read(key, 0, new Uint8Array(1), { signal }), 'storage.archived', 'reading it')
      await guaranteeRefused(tiers.setTier(key, 'hot', { signal }), 'storage.archived', 'setting its tier')
      guarantee((await store.find(key, { signal }))?.sizeBytes === 4, 'it is not found')
      await tiers.rehydrate(key, { signal, to: 'cool', priority: 'high' })
      await tiers.rehydrate(key, { signal, to: 'cool', priority: 'high' })
      const facts = await tiers.getTier(key, { signal })
      guarantee(facts.rehydratingTo === 'cool' || facts.tier === 'cool', `on its way: ${JSON.stringify(facts)}`)
      await store.delete(key, { signal })
      guarantee((await store.find(key, { signal })) === undefined, 'it is there after it was deleted')
    },
  },
  {
    promise: 'what is not there has no tier',
    needs: 'tiers',
    run: async (context) => {
      const { prefix, signal } = context
      const tiers = abilityOf(context)
      const key = `${prefix}absent`
      await guaranteeRefused(tiers.getTier(key, { signal }), 'storage.not_found', 'the tier of nothing')
      await guaranteeRefused(tiers.setTier(key, 'cool', { signal }), 'storage.not_found', 'setting it')
      const rehydrate = tiers.rehydrate(key, { signal, to: 'hot', priority: 'standard' })
      await guaranteeRefused(rehydrate, 'storage.not_found', 'rehydrating nothing')
    },
  },
]

function abilityOf({ store }: GuaranteeContext): ObjectTiers {
  guarantee(store.tiers !== undefined, 'the store has no tiers')
  return store.tiers
}
