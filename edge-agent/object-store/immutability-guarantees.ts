import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import {
  type Guarantee,
  guarantee,
  type GuaranteeContext,
  guaranteeRefused,
  guaranteeSame,
  listKeys,
} from './guarantee.ts'
import type { ObjectImmutability, Retention, RetentionMode } from './object-store.ts'
import { toWholeSecond } from './retention-rule.ts'

const POLL_MS = 250
const MODES: readonly RetentionMode[] = ['governance', 'compliance']

/** What stores with immutability promise. Leaves objects behind that are retained for `retainForMs`. */
export const immutabilityGuarantees: readonly Guarantee[] = [
  {
    promise: 'an object put with a retention has it at once, and stays until it ends',
    needs: 'immutability',
    run: async (context) => {
      const { store, prefix, signal, randomBytes } = context
      const locks = abilityOf(context)
      for (const mode of MODES) {
        const key = `${prefix}put-${mode}`
        const body = randomBytes(1000)
        const retention = retainedFor(context, mode)
        await locks.put(key, body, { signal, retention })
        await expectRetention(context, key, retention)
        await expectStays(context, key, body)
      }
      for (const mode of MODES) {
        const key = `${prefix}put-${mode}`
        await untilDeleted(context, key)
        guarantee((await store.find(key, { signal })) === undefined, `${key} is there after its retention`)
      }
    },
  },
  {
    promise: 'a large object has its retention as soon as it is there',
    needs: 'immutability',
    run: async (context) => {
      const { prefix, signal, randomBytes, largeBytes } = context
      const key = `${prefix}large`
      const body = randomBytes(largeBytes)
      const retention = retainedFor(context, 'compliance')
      await abilityOf(context).put(key, body, { signal, retention })
      await expectRetention(context, key, retention)
      await expectStays(context, key, body)
    },
  },
  {
    promise: 'a retention is extended and never shortened',
    needs: 'immutability',
    run: async (context) => {
      const { store, prefix, signal } = context
      const locks = abilityOf(context)
      for (const mode of MODES) {
        const key = `${prefix}extend-${mode}`
        await store.put(key, Buffer.from(mode), { signal })
        guarantee((await locks.findRetention(key, { signal })) === undefined, `${key} has a retention that nobody set`)
        const first = retainedFor(context, mode)
        await locks.setRetention(key, first, { signal })
        await expectRetention(context, key, first)
        await locks.setRetention(key, first, { signal })
        const later = { mode, retainUntil: new Date(first.retainUntil.getTime() + 2000) }
        await locks.setRetention(key, later, { signal })
        await expectRetention(context, key, later)
        await guaranteeRefused(locks.setRetention(key, first, { signal }), 'storage.retention_refused', 'shortening')
        const past = { mode, retainUntil: new Date(Math.floor(context.clock.now().getTime() / 1000) * 1000 - 60_000) }
        await guaranteeRefused(locks.setRetention(key, past, { signal }), 'storage.retention_refused', 'a past date')
        await expectRetention(context, key, later)
        await expectStays(context, key, Buffer.from(mode))
      }
    },
  },
  {
    promise: 'putting the same object again extends its retention, which a retry may do',
    needs: 'immutability',
    run: async (context) => {
      const { prefix, signal, randomBytes } = context
      const locks = abilityOf(context)
      const key = `${prefix}twice`
      const body = randomBytes(100)
      const first = retainedFor(context, 'compliance')
      await locks.put(key, body, { signal, retention: first })
      await locks.put(key, body, { signal, retention: first })
      const later = { ...first, retainUntil: new Date(first.retainUntil.getTime() + 1000) }
      await locks.put(key, body, { signal, retention: later })
      await expectRetention(context, key, later)
      await expectStays(context, key, body)
    },
  },
  {
    promise: 'an object under legal hold stays until the hold is lifted',
    needs: 'immutability',
    run: async (context) => {
      const { store, prefix, signal } = context
      const locks = abilityOf(context)
      const key = `${prefix}held`
      await store.put(key, Buffer.from('held'), { signal })
      guarantee(!(await locks.hasLegalHold(key, { signal })), 'an object is held that nobody held')
      await locks.setLegalHold(key, true, { signal })
      guarantee(await locks.hasLegalHold(key, { signal }), 'the hold cannot be read back')
      await expectStays(context, key, Buffer.from('held'))
      await locks.setLegalHold(key, false, { signal })
      guarantee(!(await locks.hasLegalHold(key, { signal })), 'the hold is not lifted')
      await store.delete(key, { signal })
      guarantee((await store.find(key, { signal })) === undefined, 'it is there after it was deleted')
    },
  },
  {
    promise: 'governance can be lifted by who has the right, compliance by nobody',
    needs: 'immutability',
    run: async (context) => {
      const { store, prefix, signal } = context
      const locks = abilityOf(context)
      const governed = `${prefix}governed`
      await locks.put(governed, Buffer.from('g'), { signal, retention: retainedFor(context, 'governance') })
      try {
        await locks.deleteBypassingGovernance(governed, { signal })
        guarantee((await store.find(governed, { signal })) === undefined, 'it is there after it was deleted')
      } catch (error) {
        if (!isPlatformError(error, 'storage.access_denied')) throw error
      }
      const strict = `${prefix}strict`
      await locks.put(strict, Buffer.from('c'), { signal, retention: retainedFor(context, 'compliance') })
      const call = locks.deleteBypassingGovernance(strict, { signal })
      await guaranteeRefused(call, 'storage.immutable', 'lifting compliance')
      guaranteeSame(await store.get(strict, { signal }), Buffer.from('c'), strict)
    },
  },
  {
    promise: 'other bytes put over a retained object do not destroy it',
    needs: 'immutability',
    run: async (context) => {
      const { store, prefix, signal } = context
      const key = `${prefix}overwritten`
      const body = Buffer.from('the last copy')
      await abilityOf(context).put(key, body, { signal, retention: retainedFor(context, 'compliance') })
      try {
        await store.put(key, Buffer.from('ransom'), { signal })
      } catch (error) {
        if (!isPlatformError(error, 'storage.immutable')) throw error
      }
      await guaranteeRefused(store.delete(key, { signal }), 'storage.immutable', 'deleting what was put over')
      const { versions } = store
      if (versions === undefined) guaranteeSame(await store.get(key, { signal }), body, key)
      else {
        const kept: Uint8Array[] = []
        for await (const page of versions.list(key, { signal })) {
          for (const version of page) {
            if (!version.deleteMark) kept.push(await versions.get(version.key, version.versionId, { signal }))
          }
        }
        guarantee(
          kept.some((bytes) => body.equals(bytes)),
          'the retained bytes are in no version',
        )
      }
    },
  },
  {
    promise: 'what is not there has no retention and no hold',
    needs: 'immutability',
    run: async (context) => {
      const { prefix, signal } = context
      const locks = abilityOf(context)
      const key = `${prefix}absent`
      const retention = retainedFor(context, 'governance')
      await guaranteeRefused(locks.findRetention(key, { signal }), 'storage.not_found', 'the retention of nothing')
      await guaranteeRefused(locks.setRetention(key, retention, { signal }), 'storage.not_found', 'retaining nothing')
      await guaranteeRefused(locks.setLegalHold(key, true, { signal }), 'storage.not_found', 'holding nothing')
      await guaranteeRefused(locks.hasLegalHold(key, { signal }), 'storage.not_found', 'a hold on nothing')
      await locks.deleteBypassingGovernance(key, { signal })
      guarantee((await listKeys(context.store, prefix, { signal })).length === 0, 'something is there')
    },
  },
]

function abilityOf({ store }: GuaranteeContext): ObjectImmutability {
  guarantee(store.immutability !== undefined, 'the store has no immutability')
  return store.immutability
}

function retainedFor({ clock, retainForMs }: GuaranteeContext, mode: RetentionMode): Retention {
  return { mode, retainUntil: toWholeSecond(new Date(clock.now().getTime() + retainForMs)) }
}

async function expectRetention(context: GuaranteeContext, key: string, wanted: Retention): Promise<void> {
  const found = await abilityOf(context).findRetention(key, { signal: context.signal })
  const isSame = found?.mode === wanted.mode && found.retainUntil.getTime() === wanted.retainUntil.getTime()
  const text = `${wanted.mode} until ${wanted.retainUntil.toISOString()}`
  guarantee(isSame, `${key}: ${text} was set, ${JSON.stringify(found)} is read back`)
}

async function expectStays({ store, signal }: GuaranteeContext, key: string, body: Uint8Array): Promise<void> {
  await guaranteeRefused(store.delete(key, { signal }), 'storage.immutable', `deleting ${key}`)
  guaranteeSame(await store.get(key, { signal }), body, `${key} after a refused delete`)
}

/** Resolves when the store lets it be deleted, which it must not before the retention has ended. */
async function untilDeleted({ store, clock, signal }: GuaranteeContext, key: string): Promise<void> {
  for (;;) {
    try {
      await store.delete(key, { signal })
      return
    } catch (error) {
      if (!isPlatformError(error, 'storage.immutable')) throw error
      await clock.sleep(POLL_MS, { signal })
    }
  }
}
