import { inspect } from 'node:util'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { beforeAll, describe, expect, test } from 'vitest'
import { faultyStore } from '../../../object-store/layers/faulty-store.ts'
import { wrapStore } from '../../../object-store/layers/wrap-store.ts'
import { createMemoryStore, type MemoryStore } from '../../../object-store/memory/memory-store.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { encodeKeyFile, parseKeyFile, type Recipient } from '../format/key-file.ts'
import { fixedRandomness, OTHER_ID, REPOSITORY_ID, withFlippedBit } from '../format/test-repository.ts'
import { KeyRing, type KeySources } from './key-ring.ts'
import { KeyStore, type LoadedKeys } from './key-store.ts'
import { newPassphraseRecipient } from './passphrase-recipient.ts'
import { passphraseSeed } from './passphrase-seed.ts'
import { generateRecipientKey, newKeyRecipient, type RecipientSecret, sealRing } from './recipients.ts'
import { RecoveryKit } from './recovery-kit.ts'

const signal = AbortSignal.timeout(60_000)
const sources: KeySources = { now: () => new Date('2026-11-25T10:00:00.000Z'), randomBytes: fixedRandomness(9) }
const idOf = (digit: number): string => `${String(digit).repeat(8)}-0000-4000-8000-000000000000`
const cost = { memoryKib: 8 * 1024, passes: 1, lanes: 1 }
const passphrase = 'correct horse battery staple'
const agentKey = generateRecipientKey()
const escrowKey = generateRecipientKey()
const kit = RecoveryKit.generate(REPOSITORY_ID, sources)
const secrets = {
  passphrase: { kind: 'passphrase', passphrase },
  agent: { kind: 'private-key', privateKey: agentKey },
  escrow: { kind: 'private-key', privateKey: escrowKey },
  recovery: kit.recipientSecret,
} as const satisfies Record<string, RecipientSecret>
const people = { createdAt: sources.now() }
let recipients: Recipient[] = []
beforeAll(async () => {
  recipients = [
    await newPassphraseRecipient({ recipientId: idOf(1), label: 'owner', passphrase, cost }, sources),
    newKeyRecipient('agent', agentKey, { recipientId: idOf(2), label: 'agent', ...people }),
    kit.recipient(idOf(3), 'sheet in the safe', sources),
  ]
})
const escrow = () => newKeyRecipient('escrow', escrowKey, { recipientId: idOf(4), label: 'MSP', ...people })

function keysIn(store: ObjectStore): KeyStore {
  return new KeyStore({ store, repositoryId: REPOSITORY_ID, sources })
}

async function newKeys(): Promise<{ store: MemoryStore; keys: KeyStore; ring: KeyRing }> {
  const store = createMemoryStore()
  const keys = keysIn(store)
  return { store, keys, ring: await keys.create(recipients, { signal }) }
}

async function keysOf(store: ObjectStore): Promise<string[]> {
  const found: string[] = []
  for await (const page of store.list('', { signal })) found.push(...page.map(({ key }) => key))
  return found
}

/** Whose changing calls after the first `calls` fail, done or not: as a process that ends there. */
function endingAfter(store: ObjectStore, calls: number, isDone: boolean): ObjectStore {
  let left = calls
  let ended = false
  return wrapStore(store, async ({ operation }, _options, work) => {
    if (ended) throw new PlatformError('storage.unreachable', 'the process has ended')
    if (operation !== 'put' && operation !== 'delete') return await work()
    if (left > 0) {
      left -= 1
      return await work()
    }
    ended = true
    if (isDone) await work()
    throw new PlatformError('storage.unreachable', 'the process has ended')
  })
}

/** Both have every key of `old`. */
function expectAllKeysOf(old: KeyRing, { ring }: LoadedKeys): void {
  expect(ring.identity).toBe(old.identity)
  expect(ring.idKey).toEqual(old.idKey)
  expect(ring.epochs).toEqual(expect.arrayContaining([...old.epochs]))
  for (const epoch of old.epochs) expect(ring.epochKey(epoch)).toEqual(old.epochKey(epoch))
}

describe('keys of a repository', () => {
  test('open for each recipient, and only for them', async () => {
    const { store, keys, ring } = await newKeys()
    for (const secret of [secrets.passphrase, secrets.agent, secrets.recovery]) {
      const loaded = await keys.load(secret, { signal, identity: ring.identity })
      expectAllKeysOf(ring, loaded)
      expect(loaded).toMatchObject({ missingKeys: [], damagedKeys: [] })
    }
    const stranger = RecoveryKit.generate(REPOSITORY_ID, sources)
    const wrong = [
      { kind: 'passphrase', passphrase: `${passphrase}r` },
      secrets.escrow,
      stranger.recipientSecret,
    ] as const
    for (const secret of wrong) {
      await expect(keys.load(secret, { signal })).rejects.toMatchObject({ code: 'repository.key_wrong' })
    }
    expect((await keysOf(store)).every((key) => key.startsWith('keys/00000001-'))).toBe(true)
  })

  test('accents of a passphrase may be typed either way; a short one is refused', async () => {
    const store = createMemoryStore()
    const owner = { recipientId: idOf(1), label: 'owner', cost }
    const composed = await newPassphraseRecipient({ ...owner, passphrase: 'caf\u00e9 caf\u00e9 caf\u00e9' }, sources)
    await keysIn(store).create([composed], { signal })
    const typed = { kind: 'passphrase', passphrase: 'cafe\u0301 cafe\u0301 cafe\u0301' } as const
    await keysIn(store).load(typed, { signal })
    const short = newPassphraseRecipient({ ...owner, passphrase: 'eleven char' }, sources)
    await expect(short).rejects.toMatchObject({ code: 'input.invalid' })
    const costly = { ...owner, passphrase, cost: { ...cost, memoryKib: 2 * 1024 * 1024 } }
    await expect(newPassphraseRecipient(costly, sources)).rejects.toMatchObject({ code: 'input.invalid' })
  })

  test('rotate without the secrets of others: new epoch, old packs readable, old files gone', async () => {
    const { store, keys, ring } = await newKeys()
    const loaded = await keys.load(secrets.agent, { signal })
    const changed = await keys.change(loaded, { newEpoch: true, add: [escrow()] }, { signal })
    expect(changed.retainedKeys).toEqual([])
    expect(changed.ring.newestEpoch).not.toBe(ring.newestEpoch)
    for (const secret of Object.values(secrets)) {
      const reloaded = await keys.load(secret, { signal })
      expectAllKeysOf(ring, reloaded)
      expect(reloaded.ring.newestEpoch).toBe(changed.ring.newestEpoch)
    }
    expect((await keysOf(store)).filter((key) => !key.startsWith('keys/00000002-'))).toEqual([])
  })

  test('a recipient that was removed opens nothing any more, and what is written from then on has a new key', async () => {
    const { keys, ring } = await newKeys()
    const { ring: changed } = await keys.change(
      await keys.load(secrets.agent, { signal }),
      { remove: [idOf(1)] },
      { signal },
    )
    expect(ring.epochs).not.toContain(changed.newestEpoch)
    await expect(keys.load(secrets.passphrase, { signal })).rejects.toMatchObject({ code: 'repository.key_wrong' })
    await keys.load(secrets.recovery, { signal })
  })

  test('cannot be left without recipients, or with one twice', async () => {
    const { keys } = await newKeys()
    const loaded = await keys.load(secrets.agent, { signal })
    const twice = recipients.slice(0, 1).map((recipient) => ({ ...recipient, label: 'another' }))
    for (const change of [{ remove: [1, 2, 3].map(idOf) }, { remove: [idOf(8)] }, { add: twice }]) {
      await expect(keys.change(loaded, change, { signal })).rejects.toMatchObject({ code: 'input.invalid' })
    }
    await expect(keysIn(createMemoryStore()).create([], { signal })).rejects.toMatchObject({ code: 'input.invalid' })
  })

  test('whatever stops a change in between, every recipient opens all keys, and the change can be made again', async () => {
    let points = 0
    for (const isDone of [false, true]) {
      for (let calls = 0; ; calls += 1) {
        const { store, keys, ring } = await newKeys()
        const loaded = await keys.load(secrets.agent, { signal })
        const stopped = keysIn(endingAfter(store, calls, isDone))
        const change = { newEpoch: true, add: [escrow()] }
        const changed = await stopped.change(loaded, change, { signal }).then(
          ({ ring: made }) => made,
          () => undefined,
        )
        for (const secret of [secrets.passphrase, secrets.agent, secrets.recovery]) {
          expectAllKeysOf(changed ?? ring, await keys.load(secret, { signal }))
        }
        if (changed !== undefined) break
        points += 1
        await keys.change(await keys.load(secrets.agent, { signal }), change, { signal })
        for (const secret of Object.values(secrets)) {
          const reloaded = await keys.load(secret, { signal })
          expectAllKeysOf(ring, reloaded)
          expect(reloaded.missingKeys).toEqual([])
        }
      }
    }
    expect(points).toBe(2 * (4 + 3))
  })

  test('stores that fail, lose answers or tear what is put never lose a key', async () => {
    let failures = 0
    for (let seed = 1; seed <= 60; seed += 1) {
      const { store, keys, ring } = await newKeys()
      const faults = { seed, errorRate: 0.05, lateErrorRate: 0.05, tornPutRate: 0.1 }
      const failing = keysIn(faultyStore(store, faults))
      const loaded = await keys.load(secrets.agent, { signal })
      const result = await failing.change(loaded, { newEpoch: true }, { signal }).catch(() => undefined)
      failures += result === undefined ? 1 : 0
      for (const secret of [secrets.passphrase, secrets.agent, secrets.recovery]) {
        expectAllKeysOf(result?.ring ?? ring, await keys.load(secret, { signal }))
      }
    }
    expect(failures).toBeGreaterThan(20)
  })

  test('of two changes at once at most one is made, and no key of either is lost', async () => {
    const { keys, store } = await newKeys()
    const [left, right] = await Promise.all([
      keys.load(secrets.agent, { signal }),
      keys.load(secrets.agent, { signal }),
    ])
    const results = await Promise.allSettled([
      keysIn(store).change(left, { newEpoch: true }, { signal }),
      keysIn(store).change(right, { newEpoch: true }, { signal }),
    ])
    const refused = results.filter(({ status }) => status === 'rejected')
    expect(refused.length).toBeGreaterThan(0)
    for (const result of refused) expect(result).toMatchObject({ reason: { code: 'repository.locked' } })
    const made = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value.ring] : []))
    for (const secret of [secrets.passphrase, secrets.agent, secrets.recovery]) {
      const loaded = await keys.load(secret, { signal })
      for (const ring of [left.ring, ...made]) expectAllKeysOf(ring, loaded)
    }
  })

  test('where two changes both came to their end, what either wrote with is read', async () => {
    const { store, keys, ring } = await newKeys()
    const both = [1, 2].map(() => ring.changed({ newEpoch: true }, 2, sources))
    for (const made of both) {
      for (const recipient of recipients) {
        const key = `keys/00000002-${made.ringId}/${recipient.recipientId}.json`
        await store.put(key, encodeKeyFile(sealRing(made, recipient, sources)), { signal })
      }
    }
    const loaded = await keys.load(secrets.agent, { signal })
    for (const made of both) expectAllKeysOf(made, loaded)
    expect(loaded.ring.epochs).toHaveLength(3)
  })

  test('files that the store retains stay, are named, and do not stand in the way', async () => {
    const { store, keys, ring } = await newKeys()
    const [first = ''] = await keysOf(store)
    await store.immutability.setLegalHold(first, true, { signal })
    const loaded = await keys.load(secrets.agent, { signal })
    const changed = await keys.change(loaded, { newEpoch: true }, { signal })
    expect(changed.retainedKeys).toEqual([first])
    const reloaded = await keys.load(secrets.passphrase, { signal })
    expect(reloaded.ring.newestEpoch).toBe(changed.ring.newestEpoch)
    expectAllKeysOf(ring, reloaded)
    await expect(keys.destroy({ signal })).rejects.toMatchObject({ code: 'storage.immutable' })
    expect(await keysOf(store)).toEqual([first])
  })

  test('a damaged or lost file shuts out its recipient alone, and is made anew by the next change', async () => {
    const { store, keys, ring } = await newKeys()
    const keyOfOwner = (await keysOf(store)).find((key) => key.includes(idOf(1))) ?? ''
    const bytes = await store.get(keyOfOwner, { signal })
    await store.put(keyOfOwner, withFlippedBit(bytes, bytes.length * 4), { signal })
    await expect(keys.load(secrets.passphrase, { signal })).rejects.toMatchObject({
      code: 'repository.key_file_invalid',
    })
    const loaded = await keys.load(secrets.recovery, { signal })
    expect(loaded).toMatchObject({ missingKeys: [keyOfOwner], damagedKeys: [keyOfOwner] })
    await keys.change(loaded, {}, { signal })
    const reloaded = await keys.load(secrets.passphrase, { signal })
    expect(reloaded.ring.epochs).toEqual(ring.epochs)
    expect(reloaded.missingKeys).toEqual([])
  })

  test('a ring that strangers made for our recipients is not used where ours is known', async () => {
    const { store, keys, ring } = await newKeys()
    const theirs = KeyRing.create(REPOSITORY_ID, recipients, sources).changed({}, 7, sources)
    for (const recipient of recipients) {
      const key = `keys/00000007-${theirs.ringId}/${recipient.recipientId}.json`
      await store.put(key, encodeKeyFile(sealRing(theirs, recipient, sources)), { signal })
    }
    const loaded = await keys.load(secrets.agent, { signal, identity: ring.identity })
    expect(loaded.ring.ringId).toBe(ring.ringId)
    for (const options of [{ signal }, { signal, identity: 'f'.repeat(32) }]) {
      await expect(keys.load(secrets.agent, options)).rejects.toMatchObject({ code: 'repository.key_untrusted' })
    }
  })

  test('once destroyed nobody opens them; made again they are others', async () => {
    const { store, keys, ring } = await newKeys()
    await expect(keys.create(recipients, { signal })).rejects.toMatchObject({ code: 'repository.locked' })
    await keys.destroy({ signal })
    expect(await keysOf(store)).toEqual([])
    await expect(keys.load(secrets.agent, { signal })).rejects.toMatchObject({ code: 'repository.key_missing' })
    expect((await keys.create(recipients, { signal })).identity).not.toBe(ring.identity)
  })

  test('what an unfinished creation left can be discarded, but never the keys of what exists', async () => {
    const { store, keys } = await newKeys()
    for (const key of ['repo.json', `packs/00000000/aa/${'a'.repeat(40)}`, `rp/${OTHER_ID}/x`]) {
      await store.put(key, Uint8Array.of(1), { signal })
      await expect(keys.discardUnfinished({ signal })).rejects.toMatchObject({ code: 'repository.locked' })
      await store.delete(key, { signal })
    }
    await keys.discardUnfinished({ signal })
    expect(await keysOf(store)).toEqual([])
  })

  test('are shown neither by printing them nor as JSON, and are erased', async () => {
    const { ring } = await newKeys()
    const shown = [inspect(ring, { depth: 9, showHidden: true }), JSON.stringify(ring)].join('\n')
    const all = [ring.idKey, ring.macKey, ring.epochKey(ring.newestEpoch)]
    for (const key of all) {
      for (const encoding of ['hex', 'base64'] as const)
        expect(shown).not.toContain(Buffer.from(key).toString(encoding))
    }
    ring[Symbol.dispose]()
    for (const key of all) expect(key.every((byte) => byte === 0)).toBe(true)
  })
})

/** Of the reference implementation's own tests: Argon2id, version 19, 64 MiB, 2 passes, 1 lane. */
test('passphrases go through Argon2id', async () => {
  const argon2 = { salt: Buffer.from('somesalt').toString('base64'), memoryKib: 65_536, passes: 2, lanes: 1 }
  expect((await passphraseSeed('password', argon2)).toString('hex')).toBe(
    '09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7',
  )
})

test('a key file that was changed in any way is refused', async () => {
  const { store } = await newKeys()
  for (const key of await keysOf(store)) {
    const bytes = await store.get(key, { signal })
    expect(encodeKeyFile(parseKeyFile(bytes, key))).toEqual(Buffer.from(bytes))
    for (let bit = 0; bit < bytes.length * 8; bit += 7) {
      expect(() => parseKeyFile(withFlippedBit(bytes, bit), key)).toThrow(
        expect.objectContaining({
          code: expect.stringMatching(/^repository\.(key_file_invalid|format_unsupported)$/) as string,
        }),
      )
    }
    for (const wrong of [bytes.subarray(1), bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.from('\n')])]) {
      expect(() => parseKeyFile(wrong, key)).toThrow(expect.objectContaining({ code: 'repository.key_file_invalid' }))
    }
    const elsewhere = key.replace(/[0-9a-f]{16}/, '0'.repeat(16))
    expect(() => parseKeyFile(bytes, elsewhere)).toThrow(/it is keys/)
  }
})
