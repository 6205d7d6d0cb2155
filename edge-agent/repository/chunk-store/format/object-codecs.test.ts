import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { generateSigningKey, signEnvelope } from '@sendense/shared/runtime/signing.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isObjectKey } from '../../../object-store/object-key.ts'
import type { RestorePointManifest } from '../../restore-point-manifest.ts'
import { createChunkIdHash } from './chunk-id-hash.ts'
import {
  encodeChunkStoreDescriptor,
  newChunkStoreDescriptor,
  parseChunkStoreDescriptor,
} from './chunk-store-descriptor.ts'
import { encodeLease, type Lease, parseLease } from './lease.ts'
import { sealJson } from './object-context.ts'
import * as objectKeys from './object-keys.ts'
import { encodeQuarantineList, parseQuarantineList } from './quarantine-list.ts'
import { hashIds } from './registered-ids.ts'
import { encodeSealedManifest, parseSealedManifest } from './sealed-manifest.ts'
import { objectKinds } from './sealed-object.ts'
import { fixedContext, fixedKeys, OTHER_ID, REPOSITORY_ID, withFlippedBit } from './test-repository.ts'

const VM_ID = '11111111-2222-4333-8444-555555555555'
const context = fixedContext()
const signingKey = generateSigningKey()
const publicKeys = new Map([[signingKey.keyId, signingKey.publicKey]])
const corrupt = expect.objectContaining({ code: 'repository.object_corrupt' }) as Error
const invalid = expect.objectContaining({ code: 'repository.manifest_invalid' }) as Error

const manifest: RestorePointManifest = {
  version: 1,
  restorePointId: OTHER_ID,
  repositoryId: REPOSITORY_ID,
  tenantId: VM_ID,
  agentId: VM_ID,
  jobId: VM_ID,
  vmId: VM_ID,
  vmName: 'web',
  platform: 'kvm',
  platformRef: 'web',
  definition: {},
  memoryBytes: 1,
  cpuCount: 1,
  takenAt: '2026-11-25T10:00:00.000Z',
  sealedAt: '2026-11-25T10:01:00.000Z',
  consistency: 'crash',
  disks: [
    {
      diskId: 'disk0',
      sizeBytes: 1,
      chunkSizeBytes: 1,
      mode: 'full',
      reason: 'FULL_FIRST',
      readBytes: 1,
      writtenBytes: 1,
      zeroedBytes: 0,
      storedBytes: 1,
      pages: ['a'.repeat(64)],
    },
  ],
}

describe('a sealed manifest', () => {
  test('comes back as it was signed', () => {
    const bytes = encodeSealedManifest(manifest, signingKey, context)
    const read = parseSealedManifest(bytes, manifest, publicKeys, context)
    expect(read.manifest).toEqual(manifest)
    expect(read.manifestHash).toMatch(/^[0-9a-f]{64}$/)
    expect(Buffer.from(bytes).includes('web')).toBe(false)
  })

  test('that was changed, or is not where it belongs, is refused', () => {
    const bytes = encodeSealedManifest(manifest, signingKey, context)
    for (let bit = 0; bit < bytes.length * 8; bit += 29) {
      expect(() => parseSealedManifest(withFlippedBit(bytes, bit), manifest, publicKeys, context)).toThrow(
        expect.objectContaining({
          code: expect.stringMatching(/^repository\.(manifest_invalid|format_unsupported|key_missing)$/) as string,
        }),
      )
    }
    const places = [{ restorePointId: VM_ID }, { vmId: OTHER_ID }, { takenAt: '2026-11-25T10:00:00.001Z' }]
    for (const place of places) {
      expect(() => parseSealedManifest(bytes, { ...manifest, ...place }, publicKeys, context)).toThrow(invalid)
    }
    expect(() => parseSealedManifest(bytes, manifest, publicKeys, { ...context, keys: fixedKeys(2) })).toThrow(invalid)
  })

  test('that nobody trusted has signed, or that says it is another, is refused although our keys sealed it', () => {
    const stranger = encodeSealedManifest(manifest, generateSigningKey(), context)
    expect(() => parseSealedManifest(stranger, manifest, publicKeys, context)).toThrow(/unknown key/)
    const place = { kind: objectKinds.manifest, objectKey: objectKeys.manifestKey(manifest) }
    const [disk] = manifest.disks
    const wrong = [{ repositoryId: OTHER_ID }, { restorePointId: VM_ID }, { disks: [{ ...disk, layers: ['x'] }] }, {}]
    for (const change of wrong) {
      const type = 'vmId' in change ? payloadTypes.agentMessage : payloadTypes.restorePointManifest
      const content = Object.keys(change).length === 0 ? { version: 2 } : { ...manifest, ...change }
      const bytes = sealJson(place, signEnvelope(type, content, signingKey), context)
      expect(() => parseSealedManifest(bytes, manifest, publicKeys, context)).toThrow(invalid)
    }
    const type = sealJson(place, signEnvelope(payloadTypes.agentMessage, manifest, signingKey), context)
    expect(() => parseSealedManifest(type, manifest, publicKeys, context)).toThrow(invalid)
    const unsigned = sealJson(place, manifest, context)
    expect(() => parseSealedManifest(unsigned, manifest, publicKeys, context)).toThrow(invalid)
  })
})

const lease: Lease = {
  version: 1,
  writerId: VM_ID,
  counter: 3,
  role: 'writer',
  agentId: OTHER_ID,
  generation: 2,
  beganAt: '2026-11-25T10:00:00.000Z',
  vmId: VM_ID,
  restorePointId: OTHER_ID,
}

test('a lease comes back as it was, and only as the heartbeat it is', () => {
  const bytes = encodeLease(lease, context)
  expect(parseLease(bytes, lease, context)).toEqual(lease)
  expect(() => parseLease(bytes, { ...lease, counter: 4 }, context)).toThrow(corrupt)
  expect(() => parseLease(bytes, { ...lease, writerId: OTHER_ID }, context)).toThrow(corrupt)
  const place = { kind: objectKinds.lease, objectKey: objectKeys.leaseKey(lease) }
  for (const wrong of [{ ...lease, counter: 4 }, { ...lease, version: 2 }, { ...lease, more: 1 }, 'text']) {
    expect(() => parseLease(sealJson(place, wrong, context), lease, context)).toThrow(corrupt)
  }
})

test('a quarantine list comes back as it was', () => {
  const packId = 'ab'.repeat(20)
  const list = {
    version: 1 as const,
    quarantineId: VM_ID,
    foundAt: '2026-11-25T10:00:00.000Z',
    packs: [{ packId, generation: 1, reason: 'its bytes are not those that were written' }],
    chunks: [{ packId, ordinal: 7, chunkId: 'c'.repeat(64), reason: 'does not open' }],
  }
  const bytes = encodeQuarantineList(list, context)
  expect(parseQuarantineList(bytes, list, context)).toEqual(list)
  expect(() => parseQuarantineList(bytes, { quarantineId: OTHER_ID }, context)).toThrow(corrupt)
})

describe('repo.json', () => {
  const descriptor = newChunkStoreDescriptor({ repositoryId: REPOSITORY_ID, createdAt: new Date(0) })

  test('comes back as it was', () => {
    expect(parseChunkStoreDescriptor(encodeChunkStoreDescriptor(descriptor))).toEqual(descriptor)
    expect(descriptor).toMatchObject({ chunkSizeBytes: 1024 * 1024, hash: 1, cipher: 1, kind: 'chunk-store' })
  })

  test.each([
    { change: { version: 2 }, code: 'repository.format_unsupported' },
    { change: { kind: 'qcow2-chain' }, code: 'repository.format_unsupported' },
    { change: { format: 'restic' }, code: 'repository.not_a_repository' },
    { change: { chunkSizeBytes: 100_000 }, code: 'repository.not_a_repository' },
    { change: { hash: 3 }, code: 'repository.not_a_repository' },
    { change: { cipher: 2 }, code: 'repository.not_a_repository' },
    { change: { repositoryId: REPOSITORY_ID.toUpperCase() }, code: 'repository.not_a_repository' },
    { change: { more: 1 }, code: 'repository.not_a_repository' },
  ])('with $change is refused', ({ change, code }) => {
    const bytes = Buffer.from(JSON.stringify({ ...descriptor, ...change }))
    expect(() => parseChunkStoreDescriptor(bytes)).toThrow(expect.objectContaining({ code }))
    expect(() => parseChunkStoreDescriptor(bytes.subarray(1))).toThrow(
      expect.objectContaining({ code: 'repository.not_a_repository' }),
    )
  })
})

describe('names of objects', () => {
  const packId = 'ab'.repeat(20)
  const ringName = { ringNumber: 7, ringId: '0123456789abcdef' }
  const cases = [
    [objectKeys.packKey({ packId, generation: 12 }), objectKeys.parsePackKey, { packId, generation: 12 }],
    [
      objectKeys.indexDeltaKey({ indexId: VM_ID, generation: 0 }),
      objectKeys.parseIndexDeltaKey,
      { indexId: VM_ID, generation: 0 },
    ],
    [
      objectKeys.packSetKey({ vmId: VM_ID, restorePointId: OTHER_ID, revision: 2 }),
      objectKeys.parsePackSetKey,
      { vmId: VM_ID, restorePointId: OTHER_ID, revision: 2 },
    ],
    [objectKeys.leaseKey({ writerId: VM_ID, counter: 5 }), objectKeys.parseLeaseKey, { writerId: VM_ID, counter: 5 }],
    [objectKeys.fenceKey(VM_ID), objectKeys.parseLeaseKey, { writerId: VM_ID, fenced: true }],
    [objectKeys.condemnedListKey(VM_ID), objectKeys.parseCondemnedListKey, { runId: VM_ID }],
    [objectKeys.quarantineListKey(VM_ID), objectKeys.parseQuarantineListKey, { quarantineId: VM_ID }],
    [objectKeys.keyFileKey(ringName, VM_ID), objectKeys.parseKeyFileKey, { ...ringName, recipientId: VM_ID }],
  ] as const

  test.each(cases)('%s is a key of every store and says what it names', (key, parse, place) => {
    expect(isObjectKey(key)).toBe(true)
    expect(parse(key)).toEqual(place)
    for (const wrong of [`${key}0`, `x${key}`, key.slice(0, -1), key.toUpperCase(), `${key}/`]) {
      expect(parse(wrong)).toBeUndefined()
    }
  })

  test('manifests of one VM sort by time, to the millisecond', () => {
    const anyTime = fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true })
    fc.assert(
      fc.property(anyTime, anyTime, (left, right) => {
        const places = [left, right].map((time) => ({
          vmId: VM_ID,
          restorePointId: OTHER_ID,
          takenAt: time.toISOString(),
        }))
        const keys = places.map((place) => objectKeys.manifestKey(place))
        expect(keys.map((key) => objectKeys.parseManifestKey(key))).toEqual(places)
        expect(keys.every((key) => isObjectKey(key))).toBe(true)
        const [first = '', second = ''] = keys
        expect(first < second).toBe(left < right)
      }),
    )
    for (const wrong of ['20260231T000000.000Z', '20261125T250000.000Z', '20261125T000000Z']) {
      expect(objectKeys.parseManifestKey(`rp/${VM_ID}/${wrong}-${OTHER_ID}`)).toBeUndefined()
    }
  })

  test('are not made of anything else', () => {
    const invalidInput = expect.objectContaining({ code: 'input.invalid' }) as Error
    expect(() => objectKeys.packKey({ packId: '../..', generation: 1 })).toThrow(invalidInput)
    expect(() => objectKeys.packKey({ packId, generation: 100_000_000 })).toThrow(invalidInput)
    expect(() => objectKeys.leasePrefix('x')).toThrow(invalidInput)
    expect(() => objectKeys.manifestKey({ ...manifest, takenAt: 'yesterday' })).toThrow(invalidInput)
  })
})

test('either hash tells contents and keys apart, in however many parts, and gives zeros for zeros', () => {
  for (const hashId of Object.values(hashIds)) {
    const hash = createChunkIdHash(hashId, Buffer.alloc(32, 1))
    const content = Buffer.from('the content of a chunk')
    const id = Buffer.from(hash.idOf(content))
    expect(Buffer.from(hash.idOf(content.subarray(0, 5), content.subarray(5)))).toEqual(id)
    expect(Buffer.from(createChunkIdHash(hashId, Buffer.alloc(32, 2)).idOf(content))).not.toEqual(id)
    expect(Buffer.from(hash.idOf(Buffer.alloc(100)))).toEqual(Buffer.alloc(32))
  }
  const rfc4231 = createChunkIdHash(hashIds.hmacSha256, Buffer.concat([Buffer.alloc(20, 0x0b), Buffer.alloc(12)]))
  expect(Buffer.from(rfc4231.idOf(Buffer.from('Hi There'))).toString('hex')).toBe(
    'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
  )
})
