import { randomUUID } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { beforeEach, describe, expect, test } from 'vitest'
import { wrapStore } from '../../object-store/layers/wrap-store.ts'
import { createMemoryStore, type MemoryStore } from '../../object-store/memory/memory-store.ts'
import { prefixes, signerKey } from '../../repository/chunk-store/format/object-keys.ts'
import { encodeSigner } from '../../repository/chunk-store/format/signer.ts'
import { withFlippedBit } from '../../repository/chunk-store/format/test-repository.ts'
import { systemKeySources } from '../../repository/chunk-store/keys/key-ring.ts'
import { KeyRing } from '../../repository/chunk-store/keys/key-ring.ts'
import { KeyStore } from '../../repository/chunk-store/keys/key-store.ts'
import { RecoveryKit } from '../../repository/chunk-store/keys/recovery-kit.ts'
import { lentStore } from '../../repository/chunk-store/test-chunk-repository.ts'
import type { Archive } from '../archive.ts'
import { findPoint } from '../find-point.ts'
import { LostRanges } from '../lost-ranges.ts'
import { salvagedSource } from '../salvaged-source.ts'
import { kitSecret, type SecretReader } from '../secret-reader.ts'
import {
  type LostPoint,
  type LostSite,
  makeLostSite,
  SITE_CHUNK_BYTES,
  SITE_PASSPHRASE,
} from '../testing/make-lost-site.ts'
import { openChunkArchive } from './open-chunk-archive.ts'

/** Smaller ones hold pages or text. */
const PACK_WITH_NOISE_BYTES = 150_000
const signal = AbortSignal.timeout(60_000)
let store: MemoryStore
let site: LostSite

beforeEach(async () => {
  store = createMemoryStore()
  site = await makeLostSite(lentStore(store))
})

async function open(changes: { readonly secret?: SecretReader; readonly anySigner?: boolean } = {}): Promise<Archive> {
  return await openChunkArchive(
    { store: await lentStore(store)(), secret: kit, anySigner: false, ...changes },
    { signal },
  )
}

async function kit(repositoryId: string) {
  return kitSecret(site.kitSheet, repositoryId)
}

async function loadRing(): Promise<KeyRing> {
  const keys = new KeyStore({ store, repositoryId: site.repositoryId })
  return (await keys.load(site.kit.recipientSecret, { signal })).ring
}

async function keysUnder(prefix: string): Promise<string[]> {
  const keys: string[] = []
  for await (const page of store.list(prefix, { signal })) keys.push(...page.map(({ key }) => key))
  return keys
}

async function damage(key: string, bit = 4000): Promise<void> {
  const bytes = await store.get(key, { signal })
  await store.delete(key, { signal })
  await store.put(key, withFlippedBit(bytes, bit % (bytes.length * 8)), { signal })
}

interface Read {
  readonly disks: ReadonlyMap<string, Uint8Array>
  readonly lost: LostRanges
  readonly warnings: readonly string[]
}

async function readAll(archive: Archive, wanted: LostPoint, skipDamaged = false): Promise<Read> {
  const sealed = findPoint(await archive.listRestorePoints({ signal }), wanted.restorePointId)
  const warnings: string[] = []
  const lost = new LostRanges()
  await using point = await archive.openRestorePoint(sealed, {
    signal,
    skipDamaged,
    onWarning: (text) => warnings.push(text),
  })
  const disks = new Map<string, Uint8Array>()
  for (const disk of point.disks.values()) {
    const source = salvagedSource(disk, { idKey: archive.idKey, ...(skipDamaged ? { lost } : {}) })
    const bytes = new Uint8Array(source.sizeBytes)
    await source.read(0, bytes, { signal })
    disks.set(disk.diskId, bytes)
  }
  return { disks, lost, warnings }
}

async function expectAllRead(archive: Archive): Promise<void> {
  for (const point of site.points) {
    const { disks } = await readAll(archive, point)
    for (const [diskId, bytes] of point.disks)
      expect(Buffer.compare(disks.get(diskId) ?? Buffer.alloc(0), bytes)).toBe(0)
  }
}

/** Bytes that differ, but where they were said to be missing, are an error; there they are zeros. */
function expectOnlyLostDiffer({ disks, lost }: Read, wanted: LostPoint): void {
  for (const [diskId, bytes] of wanted.disks) {
    const expected = Uint8Array.from(bytes)
    for (const range of lost.list()) {
      if (range.diskId === diskId) expected.fill(0, range.offsetBytes, range.offsetBytes + range.lengthBytes)
    }
    expect(Buffer.compare(disks.get(diskId) ?? Buffer.alloc(0), expected)).toBe(0)
  }
}

describe('with nothing but the storage and the kit', () => {
  test('every restore point is listed, oldest first, and every byte of it is read', async () => {
    await using archive = await open()
    const points = await archive.listRestorePoints({ signal })
    expect(points.map(({ restorePointId }) => restorePointId)).toEqual(site.points.map((point) => point.restorePointId))
    expect(archive.warnings).toEqual([])
    await expectAllRead(archive)
  })

  test('the passphrase opens it too; a stranger’s kit, a wrong passphrase and another repository’s kit do not', async () => {
    await using archive = await open({ secret: async () => ({ kind: 'passphrase', passphrase: SITE_PASSPHRASE }) })
    await expectAllRead(archive)
    const wrong = open({ secret: async () => ({ kind: 'passphrase', passphrase: `${SITE_PASSPHRASE}!` }) })
    await expect(wrong).rejects.toMatchObject({ code: 'repository.key_wrong' })
    const stranger = RecoveryKit.generate(site.repositoryId, systemKeySources)
    const strange = open({ secret: async () => stranger.recipientSecret })
    await expect(strange).rejects.toMatchObject({ code: 'repository.key_wrong' })
    const other = RecoveryKit.generate(randomUUID(), systemKeySources)
    const mixedUp = open({ secret: async (repositoryId) => kitSecret(other.toText(), repositoryId) })
    await expect(mixedUp).rejects.toMatchObject({ code: 'input.invalid' })
  })

  test('nothing is put, deleted, retained or held, whatever is done', async () => {
    const calls = new Set<string>()
    const watched = wrapStore(await lentStore(store)(), async ({ operation }, _options, work) => {
      calls.add(operation)
      return await work()
    })
    await using archive = await openChunkArchive({ store: watched, secret: kit, anySigner: false }, { signal })
    await damage((await keysUnder(prefixes.packs))[0] ?? '')
    await readAll(archive, site.points[1], true)
    expect([...calls].toSorted()).toEqual(['find', 'get', 'list', 'read'])
  })
})

describe('what is damaged', () => {
  test('index objects and lists of packs are not needed: packs alone are enough', async () => {
    for (const key of await keysUnder(prefixes.indexDeltas)) await damage(key)
    await using damagedIndex = await open()
    await expectAllRead(damagedIndex)
    for (const key of await keysUnder(prefixes.indexDeltas)) await store.delete(key, { signal })
    for (const key of await keysUnder(prefixes.packSets)) await store.delete(key, { signal })
    for (const key of await keysUnder(prefixes.leases)) await store.delete(key, { signal })
    await store.delete('repo.json', { signal })
    await using archive = await open()
    await expectAllRead(archive)
    expect(archive.warnings).toEqual([expect.stringContaining('repo.json')])
    const { warnings } = await readAll(archive, site.points[0])
    expect(warnings).toEqual([expect.stringContaining('all')])
  })

  test('a damaged chunk is an error; with leave it reads as zeros, and just its range is told of', async () => {
    let count = 0
    for await (const page of store.list(prefixes.packs, { signal })) {
      for (const { key } of page.filter(({ sizeBytes }) => sizeBytes > PACK_WITH_NOISE_BYTES)) {
        await damage(key, 8 * SITE_CHUNK_BYTES)
        count += 1
      }
    }
    expect(count).toBeGreaterThan(1)
    await using archive = await open()
    await expect(readAll(archive, site.points[0])).rejects.toMatchObject({ code: 'repository.chunk_corrupt' })
    const read = await readAll(archive, site.points[0], true)
    expect(read.lost.lostBytes).toBeGreaterThan(0)
    expect(read.lost.lostBytes).toBeLessThan(SITE_CHUNK_BYTES * 20)
    for (const { lengthBytes, why } of read.lost.list()) {
      expect(why).toMatch(/cannot be read/)
      expect(lengthBytes).toBeGreaterThan(0)
    }
    expectOnlyLostDiffer(read, site.points[0])
  })

  test('each pack that is gone costs what it held, and nothing else', async () => {
    for (const key of await keysUnder(prefixes.packs)) {
      const bytes = await store.get(key, { signal })
      await store.delete(key, { signal })
      await using archive = await open()
      for (const point of site.points) expectOnlyLostDiffer(await readAll(archive, point, true), point)
      await store.put(key, bytes, { signal })
    }
    await using whole = await open()
    await expectAllRead(whole)
    expect(whole.warnings).toEqual([])
  })

  test('a store that does not answer is not damage: nothing is filled with zeros', async () => {
    let isAway = false
    const failing = wrapStore(await lentStore(store)(), async ({ operation }, _options, work) => {
      if (isAway && operation === 'read') throw new PlatformError('storage.access_denied', 'no')
      return await work()
    })
    await using archive = await openChunkArchive({ store: failing, secret: kit, anySigner: false }, { signal })
    const sealed = findPoint(await archive.listRestorePoints({ signal }), site.points[0].restorePointId)
    await using point = await archive.openRestorePoint(sealed, {
      signal,
      skipDamaged: true,
      onWarning: () => undefined,
    })
    isAway = true
    const lost = new LostRanges()
    for (const disk of point.disks.values()) {
      const source = salvagedSource(disk, { idKey: archive.idKey, lost })
      const reading = source.read(0, new Uint8Array(source.sizeBytes), { signal })
      await expect(reading).rejects.toMatchObject({ code: 'storage.access_denied' })
    }
    expect(lost.count).toBe(0)
  })
})

describe('whose signatures are genuine', () => {
  test('the repository says it itself, sealed with its keys', async () => {
    expect(await keysUnder(prefixes.signers)).toEqual([signerKey(site.signingKey.keyId)])
  })

  test('without it no manifest is believed, unless that is asked for', async () => {
    await damage(signerKey(site.signingKey.keyId))
    await using archive = await open()
    const points = await archive.listRestorePoints({ signal })
    expect(points).toHaveLength(2)
    for (const { manifest } of points) expect(manifest).toMatchObject({ code: 'repository.manifest_invalid' })
    expect(archive.warnings).toContainEqual(expect.stringContaining('damaged'))
    await using believing = await open({ anySigner: true })
    await expectAllRead(believing)
  })

  test('a key that a stranger puts there without the repository’s keys is not believed', async () => {
    const stranger = generateSigningKey()
    const { keyId, publicKey } = stranger
    const signer = { version: 1 as const, keyId, publicKey, agentId: randomUUID(), addedAt: new Date().toISOString() }
    const foreign = KeyRing.create(site.repositoryId, (await loadRing()).recipients, systemKeySources)
    const context = { repositoryId: site.repositoryId, keys: foreign, randomBytes: systemKeySources.randomBytes }
    await store.put(signerKey(keyId), encodeSigner(signer, context), { signal })
    await using archive = await open()
    expect(archive.warnings).toContainEqual(expect.stringContaining(signerKey(keyId)))
    await expectAllRead(archive)
  })
})
