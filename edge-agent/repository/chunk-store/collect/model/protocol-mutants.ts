import { manifestKey, packSetPrefix } from '../../format/object-keys.ts'
import { collectionRules } from '../collection-rules.ts'
import { listObjects } from '../list-objects.ts'
import type { ModelMutation } from './run-model.ts'

/** Where much is condemned and deleted while listings are late. */
const busy = { lateListings: true, collectEvery: 6, collectors: 2, errors: false, tornPuts: false } as const
/** Where writers stand still, and nobody looks for long. */
const sleepy = { ...busy, collectEvery: 80, suspensions: true, crashes: false, clockJumps: 'none' } as const

/**
 * The protocol with one part left out each. Every one of them loses data, or a writer's work: a model that does not find that
 * is worth nothing. What needs more to come together than chance brings about is in `sleeping-writers.test.ts`.
 */
export const protocolMutants: Readonly<Record<string, ModelMutation>> = {
  'packs are deleted as soon as they are condemned': {
    plan: busy,
    firstSeed: 154,
    rules: { isAged: () => true },
  },
  'what is referred to is not looked at again before deleting': {
    plan: { ...busy, suspensions: true, crashes: false, collectEvery: 14 },
    firstSeed: 141,
    rules: { isFree: () => true },
  },
  'nobody waits for writers that may have missed a list': { plan: busy, rules: { mayHaveMissed: () => false } },
  'dead writers are not shut out before others go on': {
    plan: sleepy,
    rules: { isExpired: () => false, isRested: (session, context) => collectionRules.isExpired(session, context) },
  },
  'clocks are believed': {
    plan: { ...busy, clockJumps: 'store', jumps: 5 },
    firstSeed: 394,
    rules: { isSound: () => true },
  },
  'packs of living writers are condemned like others, and old ones too': {
    plan: busy,
    rules: { mayBeOf: () => false, isYoung: () => false, isAged: () => true, mayHaveMissed: () => false },
  },
  'the writer does not look for condemned packs when it seals': {
    plan: busy,
    firstSeed: 134,
    steps: (steps) => ({ ...steps, copyForward: async () => false }),
  },
  'the writer does not prove its lease after the manifest': {
    plan: sleepy,
    lease: (lease) => {
      let proofs = 0
      let last: Date | undefined
      return {
        deadline: () => lease.deadline(),
        leave: () => lease.leave(),
        confirm: async (options) => {
          proofs += 1
          if (proofs >= 3 && last !== undefined) return last
          last = await lease.confirm(options)
          return last
        },
      }
    },
  },
  'the pack set comes after the manifest': {
    steps: (steps) => ({
      ...steps,
      putPackSet: async () => {},
      putManifest: async (options) => {
        await steps.putManifest(options)
        await steps.putPackSet(options)
      },
    }),
  },
  'a restore point loses its pack set before its manifest': {
    deletePoint: async (store, point, options) => {
      for await (const { key } of listObjects(store, packSetPrefix(point), options)) await store.delete(key, options)
      await store.delete(manifestKey(point), options)
    },
  },
}
