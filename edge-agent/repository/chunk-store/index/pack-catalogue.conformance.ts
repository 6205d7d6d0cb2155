import { describe, expect, test } from 'vitest'
import type { CataloguedPack, PackCatalogue } from './pack-catalogue.ts'
import { testPack } from './test-packs.ts'

const call = { signal: AbortSignal.timeout(60_000) }

/** The contract of PackCatalogue as tests. */
export function describePackCatalogue(
  kind: string,
  open: () => Promise<{ readonly catalogue: PackCatalogue } & AsyncDisposable>,
): void {
  describe(`PackCatalogue conformance: ${kind}`, () => {
    test('gives back what was put, whatever was known before', async () => {
      await using opened = await open()
      const { catalogue } = opened
      expect(await all(catalogue)).toEqual([])
      await catalogue.put([pack(1, 1), pack(2, 300)], call)
      await catalogue.put([{ ...pack(2, 300), lockedUntil: new Date('2031-02-03T04:05:06Z') }], call)
      await catalogue.put([], call)
      expect(await all(catalogue)).toEqual([
        comparable(pack(1, 1)),
        comparable({ ...pack(2, 300), lockedUntil: new Date('2031-02-03T04:05:06Z') }),
      ])
    })

    test('finds those that it knows, of however many are asked for', async () => {
      await using opened = await open()
      const { catalogue } = opened
      await catalogue.put([pack(1, 1), pack(2, 2)], call)
      const asked = Array.from({ length: 1500 }, (_, index) => pack(index, 1).packId)
      expect((await catalogue.find(asked, call)).map(comparable).toSorted(byId)).toEqual([
        comparable(pack(1, 1)),
        comparable(pack(2, 2)),
      ])
      expect(await catalogue.find([], call)).toEqual([])
    })

    test('forgets what was deleted, and nothing else', async () => {
      await using opened = await open()
      const { catalogue } = opened
      await catalogue.put([pack(1, 1), pack(2, 2), pack(3, 3)], call)
      await catalogue.delete([pack(1, 1).packId, pack(3, 3).packId, 'ff'.repeat(20)], call)
      await catalogue.delete([], call)
      expect(await all(catalogue)).toEqual([comparable(pack(2, 2))])
    })

    test('lists more than fits in one page, each once', async () => {
      await using opened = await open()
      const { catalogue } = opened
      const packs = Array.from({ length: 700 }, (_, index) => pack(index, 1))
      await catalogue.put(packs, call)
      const ids = (await all(catalogue)).map(({ packId }) => packId)
      expect(ids).toEqual(packs.map(({ packId }) => packId).toSorted())
    })
  })
}

function pack(number: number, chunks: number): CataloguedPack {
  return testPack(number, [...Array(chunks).keys()])
}

async function all(catalogue: PackCatalogue) {
  const packs = (await Array.fromAsync(catalogue.list(call))).flat()
  return packs.map(comparable).toSorted(byId)
}

function byId(left: { readonly packId: string }, right: { readonly packId: string }): number {
  return left.packId < right.packId ? -1 : 1
}

function comparable({ directory, ...facts }: CataloguedPack) {
  return { ...facts, entries: Buffer.from(directory.bytes).toString('hex') }
}
