import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeCondemnedList, parseCondemnedList } from './condemned-list.ts'
import { encodeIndexDelta, type IndexDelta, parseIndexDelta } from './index-delta.ts'
import type { PackPlace } from './object-keys.ts'
import { encodePackSet, parsePackSet } from './pack-set.ts'
import { checkSealedObject, objectKinds, openObject, sealObject } from './sealed-object.ts'
import {
  chunkContent,
  fixedContext,
  fixedKeys,
  fixedRandomness,
  newTestPack,
  OTHER_ID,
  REPOSITORY_ID,
  withFlippedBit,
} from './test-repository.ts'

const VM_ID = '11111111-2222-4333-8444-555555555555'
const context = fixedContext()
const place = { repositoryId: REPOSITORY_ID, kind: objectKinds.packSet, objectKey: 'sets/a/b' }
const refused = {
  code: expect.stringMatching(/^repository\.(object_corrupt|format_unsupported|key_missing)$/) as string,
}
const anyPack = fc.record<PackPlace>({
  packId: fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString('hex')),
  generation: fc.nat(99_999_999),
})
const anyPacks = fc
  .uniqueArray(anyPack, { selector: ({ packId }) => packId, maxLength: 30 })
  .map((packs) => packs.toSorted((left, right) => (left.packId < right.packId ? -1 : 1)))

function seal(content: Uint8Array, compress = true): Uint8Array {
  return sealObject(place, content, context.keys, { compress, randomBytes: context.randomBytes })
}

describe('a sealed object', () => {
  test('gives back its content, compressed or not, and never encrypts alike twice', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), fc.nat(5000), fc.boolean(), (noise, zeros, compress) => {
        const content = Buffer.concat([noise, Buffer.alloc(zeros)])
        const sealed = seal(content, compress)
        expect(openObject(sealed, place, context.keys)).toEqual(content)
        checkSealedObject(sealed, place)
        expect(seal(content, compress)).not.toEqual(sealed)
      }),
    )
    expect(seal(Buffer.alloc(5000)).length).toBeLessThan(1000)
  })

  test('with a bit turned, or bytes missing or added, is refused with and without keys', () => {
    const sealed = seal(Buffer.from('the packs of a restore point'))
    const wrong = [
      ...Array.from({ length: sealed.length * 8 }, (_, bit) => withFlippedBit(sealed, bit)),
      ...Array.from({ length: sealed.length }, (_, length) => sealed.subarray(0, length)),
      Buffer.concat([sealed, Buffer.alloc(1)]),
      Buffer.concat([Buffer.alloc(1), sealed]),
    ]
    for (const bytes of wrong) {
      expect(() => checkSealedObject(bytes, place)).toThrow(expect.objectContaining(refused))
      expect(() => openObject(bytes, place, context.keys)).toThrow(expect.objectContaining(refused))
    }
  })

  test('whose outer hash was made to match again is refused by its keys', async () => {
    const { createHash } = await import('node:crypto')
    const sealed = seal(Buffer.from('the packs of a restore point'))
    for (let bit = 0; bit < (sealed.length - 32) * 8; bit += 1) {
      const forged = withFlippedBit(sealed, bit)
      forged.set(createHash('sha256').update(forged.subarray(0, -32)).digest(), forged.length - 32)
      expect(() => openObject(forged, place, context.keys)).toThrow(expect.objectContaining(refused))
    }
  })

  test('opens only in its place and with its keys', () => {
    const sealed = seal(Buffer.from('content'))
    const changes = [{ repositoryId: OTHER_ID }, { kind: objectKinds.lease }, { objectKey: 'sets/a/c' }]
    for (const change of changes) {
      expect(() => openObject(sealed, { ...place, ...change }, context.keys)).toThrow(
        expect.objectContaining({ code: 'repository.object_corrupt' }),
      )
    }
    expect(() => openObject(sealed, place, fixedKeys(2))).toThrow(
      expect.objectContaining({ code: 'repository.object_corrupt' }),
    )
    const late = { ...context.keys, newestEpoch: 9, epochKey: () => new Uint8Array(32) }
    const later = sealObject(place, Buffer.from('x'), late, { compress: false, randomBytes: fixedRandomness(9) })
    expect(() => openObject(later, place, context.keys)).toThrow(
      expect.objectContaining({ code: 'repository.key_missing' }),
    )
  })
})

describe('lists of packs', () => {
  test('a pack set comes back as it was, sorted, whatever the order it was given in', () => {
    fc.assert(
      fc.property(anyPacks, fc.nat(1000), (packs, revision) => {
        const where = { vmId: VM_ID, restorePointId: OTHER_ID, revision }
        const bytes = encodePackSet({ ...where, packs: packs.toReversed() }, context)
        expect(parsePackSet(bytes, where, context)).toEqual({ ...where, packs })
        expect(() => parsePackSet(bytes, { ...where, revision: revision + 1 }, context)).toThrow(
          expect.objectContaining(refused),
        )
      }),
    )
  })

  test('a condemned list comes back as it was', () => {
    fc.assert(
      fc.property(anyPacks, fc.date({ min: new Date(0), noInvalidDate: true }), (packs, condemnedAt) => {
        const clocks = { wallMs: condemnedAt.getTime() + 7, bootId: VM_ID, upMs: 12_345_678_901 }
        const list = { runId: OTHER_ID, condemnedAt, clocks, packs }
        expect(parseCondemnedList(encodeCondemnedList(list, context), list, context)).toEqual(list)
      }),
    )
  })

  test('content that is no list is refused even where keys sealed it', () => {
    const where = { vmId: VM_ID, restorePointId: OTHER_ID, revision: 0 }
    const objectPlace = { ...place, objectKey: `sets/${VM_ID}/${OTHER_ID}.00000000` }
    const pack = Buffer.alloc(24, 1)
    const head = Buffer.from(`${VM_ID}${OTHER_ID}00000000`.replaceAll('-', ''), 'hex')
    for (const tail of ['', '00', '00000000ff', '01000000', 'ffffffff']) {
      const content = Buffer.concat([head, Buffer.from(tail, 'hex')])
      const bytes = sealObject(objectPlace, content, context.keys, {
        compress: false,
        randomBytes: context.randomBytes,
      })
      expect(() => parsePackSet(bytes, where, context)).toThrow(expect.objectContaining(refused))
    }
    const twice = Buffer.concat([head, Buffer.from('02000000', 'hex'), pack, pack])
    const bytes = sealObject(objectPlace, twice, context.keys, { compress: false, randomBytes: context.randomBytes })
    expect(() => parsePackSet(bytes, where, context)).toThrow(/in order/)
  })
})

test('an index delta holds the directories of its packs, each checked again', () => {
  const packs = [1, 2, 3].map((seed) => {
    const packId = Buffer.alloc(20, seed).toString('hex')
    const builder = newTestPack({ packId })
    for (let chunk = 0; chunk < seed; chunk += 1) {
      builder.append({ id: Buffer.alloc(32, chunk), kind: 0 }, [chunkContent(chunk, 700, seed === 2)])
    }
    return { packId, generation: 3, epoch: 8, directory: builder.close().directory }
  })
  const index: IndexDelta = { indexId: OTHER_ID, generation: 3, packs }
  const bytes = encodeIndexDelta(index, context)
  const read = parseIndexDelta(bytes, index, context)
  expect(read.packs.map(({ directory, ...facts }) => ({ ...facts, bytes: Buffer.from(directory.bytes) }))).toEqual(
    packs.map(({ directory, ...facts }) => ({ ...facts, bytes: Buffer.from(directory.bytes) })),
  )
  expect(() => parseIndexDelta(bytes, { ...index, generation: 4 }, context)).toThrow(expect.objectContaining(refused))
  const [first] = packs
  first?.directory.bytes.set([1], 44) // compression of its only entry
  expect(() => parseIndexDelta(encodeIndexDelta(index, context), index, context)).toThrow(
    expect.objectContaining(refused),
  )
})
