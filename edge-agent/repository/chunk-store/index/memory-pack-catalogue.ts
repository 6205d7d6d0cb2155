import type { CataloguedPack, PackCatalogue } from './pack-catalogue.ts'

const PAGE_MAX = 256

/** A catalogue that lives as long as the process: for tests and commands. */
export function createMemoryPackCatalogue(): PackCatalogue {
  const known = new Map<string, CataloguedPack>()
  return {
    async *list({ signal }) {
      const all = [...known.values()]
      for (let at = 0; at < all.length; at += PAGE_MAX) {
        signal.throwIfAborted()
        yield all.slice(at, at + PAGE_MAX)
      }
    },
    find: async (packIds, { signal }) => {
      signal.throwIfAborted()
      return packIds.flatMap((packId) => known.get(packId) ?? [])
    },
    put: async (packs, { signal }) => {
      signal.throwIfAborted()
      for (const pack of packs) known.set(pack.packId, pack)
    },
    delete: async (packIds, { signal }) => {
      signal.throwIfAborted()
      for (const packId of packIds) known.delete(packId)
    },
  }
}
