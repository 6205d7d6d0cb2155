import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { createMemoryStore, type MemoryStore } from '@sendense/edge-agent/object-store/memory/memory-store.ts'
import { parseChunkStoreDescriptor } from '@sendense/edge-agent/repository/chunk-store/format/chunk-store-descriptor.ts'
import { parseCondemnedList } from '@sendense/edge-agent/repository/chunk-store/format/condemned-list.ts'
import { parseIndexDelta } from '@sendense/edge-agent/repository/chunk-store/format/index-delta.ts'
import { parseLease } from '@sendense/edge-agent/repository/chunk-store/format/lease.ts'
import * as objectKeys from '@sendense/edge-agent/repository/chunk-store/format/object-keys.ts'
import { checkPack } from '@sendense/edge-agent/repository/chunk-store/format/pack-check.ts'
import {
  openPackDirectory,
  packCipherOf,
  readPackTail,
} from '@sendense/edge-agent/repository/chunk-store/format/pack-reader.ts'
import { parsePackSet } from '@sendense/edge-agent/repository/chunk-store/format/pack-set.ts'
import { parseQuarantineList } from '@sendense/edge-agent/repository/chunk-store/format/quarantine-list.ts'
import { parseSealedManifest } from '@sendense/edge-agent/repository/chunk-store/format/sealed-manifest.ts'
import { KeyStore } from '@sendense/edge-agent/repository/chunk-store/keys/key-store.ts'
import { beforeAll, describe, expect, test } from 'vitest'
import * as v1 from './chunk-store-v1.ts'

const signal = AbortSignal.timeout(60_000)
let made: v1.FixedRepository
let store: MemoryStore
const context = {
  repositoryId: v1.repositoryId,
  get keys() {
    return made.ring
  },
}

async function written(key: string): Promise<Uint8Array> {
  return await store.get(key, { signal })
}

beforeAll(async () => {
  made = await v1.fixedRepository()
  store = createMemoryStore()
  for (const key of made.objects.keys()) {
    await store.put(key, await readFile(path.join(import.meta.dirname, 'chunk-store-v1', key)), { signal })
  }
})

describe('a chunk repository of format version 1', () => {
  test('opens with passphrase, agent key and recovery kit', async () => {
    const keys = new KeyStore({ store, repositoryId: v1.repositoryId })
    const agent = { kind: 'private-key', privateKey: v1.agentKey } as const
    const owner = { kind: 'passphrase', passphrase: v1.passphrase } as const
    const kit =
      'SENDENSE-RECOVERY:1:11111111-0000-4000-8000-000000000000:0C1G60R30C1G60R30C1G60R30C1G60R30C1G60R30C1G60R30C1G'
    expect(v1.kit.toQrPayload().startsWith(kit)).toBe(true)
    for (const secret of [agent, owner, v1.kit.recipientSecret]) {
      const { ring, missingKeys } = await keys.load(secret, { signal, identity: made.ring.identity })
      expect(missingKeys).toEqual([])
      expect(ring.toBytes()).toEqual(made.ring.toBytes())
    }
  })

  test('has a pack whose chunks read as they were', async () => {
    const bytes = await written(objectKeys.packKey(v1.packPlace))
    const name = { repositoryId: v1.repositoryId, ...v1.packPlace }
    await checkPack([bytes], name)
    const read = async (offsetBytes: number, into: Uint8Array) =>
      into.set(bytes.subarray(offsetBytes, offsetBytes + into.length))
    const tail = await readPackTail(read, bytes.length, name)
    const directory = openPackDirectory(tail, made.ring)
    const cipher = packCipherOf(tail.footer, made.ring)
    for (const [ordinal, content] of v1.contents.entries()) {
      const place = directory.placeAt(ordinal)
      const into = Buffer.alloc(place.plainBytes)
      const id = createHash('sha256').update(content).digest()
      const record = bytes.subarray(place.offsetBytes, place.offsetBytes + place.storedBytes)
      cipher.openChunk({ ordinal, id, ...place }, record, into)
      expect(into).toEqual(content)
    }
    expect([0, 1, 2].map((ordinal) => directory.placeAt(ordinal).compression)).toEqual([1, 0, 1])
  })

  test('has descriptor, index, pack set, lists, lease and manifest that say what they said', async () => {
    expect(parseChunkStoreDescriptor(await written('repo.json'))).toMatchObject({ repositoryId: v1.repositoryId })
    const index = parseIndexDelta(await written(objectKeys.indexDeltaKey(v1.indexPlace)), v1.indexPlace, context)
    expect(index.packs.map(({ packId }) => packId)).toEqual([v1.packPlace.packId])
    const set = parsePackSet(await written(objectKeys.packSetKey(v1.setPlace)), v1.setPlace, context)
    expect(set.packs).toEqual([v1.packPlace])
    const condemned = await written(objectKeys.condemnedListKey(v1.condemned.runId))
    expect(parseCondemnedList(condemned, v1.condemned, context)).toEqual(v1.condemned)
    const quarantine = await written(objectKeys.quarantineListKey(v1.quarantine.quarantineId))
    expect(parseQuarantineList(quarantine, v1.quarantine, context)).toEqual(v1.quarantine)
    expect(parseLease(await written(objectKeys.leaseKey(v1.lease)), v1.lease, context)).toEqual(v1.lease)
    const publicKeys = new Map([[v1.signingKey.keyId, v1.signingKey.publicKey]])
    const sealed = await written(objectKeys.manifestKey(v1.manifest))
    expect(parseSealedManifest(sealed, v1.manifest, publicKeys, context).manifest).toEqual(v1.manifest)
  })

  test('is written today to the same bytes where nothing is compressed', async () => {
    const plain = [
      objectKeys.DESCRIPTOR_KEY,
      objectKeys.packSetKey(v1.setPlace),
      objectKeys.condemnedListKey(v1.condemned.runId),
      ...[...made.objects.keys()].filter((key) => key.startsWith('keys/')),
    ]
    expect(plain).toHaveLength(6)
    for (const key of plain) {
      expect({ key, bytes: Buffer.from(await written(key)) }).toEqual({ key, bytes: made.objects.get(key) })
    }
  })
})
