import { and, asc, eq, gt, inArray, sql } from 'drizzle-orm'
import { parseDirectory } from '../../repository/chunk-store/format/pack-directory.ts'
import type { CataloguedPack, PackCatalogue } from '../../repository/chunk-store/index/pack-catalogue.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { chunkPack } from './schema.ts'

/** Packs in one query, and what their directories may have together: the server takes 16 MiB at once. */
const PACKS_A_QUERY = 200
const DIRECTORIES_A_QUERY_BYTES = 4 * 1024 * 1024

type Transact = <T>(
  work: (tx: DatabaseTransaction) => Promise<T>,
  options: { readonly signal: AbortSignal },
) => Promise<T>

/** The packs of one repository in the agent's database. A row that cannot be what it says is as good as none. */
export function createMariadbPackCatalogue(repositoryId: string, transact: Transact): PackCatalogue {
  const ours = eq(chunkPack.repositoryId, repositoryId)
  return {
    async *list(options) {
      for (let after = ''; ;) {
        const from = after
        const rows = await transact(async (tx) => {
          const query = tx
            .select()
            .from(chunkPack)
            .where(and(ours, gt(chunkPack.packId, from)))
          return await query.orderBy(asc(chunkPack.packId)).limit(PACKS_A_QUERY)
        }, options)
        yield rows.flatMap(parseRow)
        const last = rows.at(-1)
        if (last === undefined || rows.length < PACKS_A_QUERY) return
        after = last.packId
      }
    },
    find: async (packIds, options) => {
      const found: CataloguedPack[] = []
      for (const some of inParts(packIds)) {
        const rows = await transact(
          async (tx) =>
            await tx
              .select()
              .from(chunkPack)
              .where(and(ours, inArray(chunkPack.packId, some))),
          options,
        )
        found.push(...rows.flatMap(parseRow))
      }
      return found
    },
    put: async (packs, options) => {
      for (const some of inParts(packs, ({ directory }) => directory.bytes.length)) {
        await transact(async (tx) => {
          const insert = tx.insert(chunkPack).values(some.map((pack) => toRow(repositoryId, pack)))
          await insert.onDuplicateKeyUpdate({
            set: {
              generation: sql`values(${chunkPack.generation})`,
              epoch: sql`values(${chunkPack.epoch})`,
              sizeBytes: sql`values(${chunkPack.sizeBytes})`,
              lockedUntil: sql`values(${chunkPack.lockedUntil})`,
              directory: sql`values(${chunkPack.directory})`,
            },
          })
        }, options)
      }
    },
    delete: async (packIds, options) => {
      for (const some of inParts(packIds)) {
        await transact(async (tx) => {
          await tx.delete(chunkPack).where(and(ours, inArray(chunkPack.packId, some)))
        }, options)
      }
    },
  }
}

function toRow(
  repositoryId: string,
  { directory, lockedUntil, ...facts }: CataloguedPack,
): typeof chunkPack.$inferInsert {
  return { repositoryId, ...facts, lockedUntil: lockedUntil ?? null, directory: Buffer.from(directory.bytes) }
}

function parseRow(row: typeof chunkPack.$inferSelect): CataloguedPack[] {
  const { packId, generation, epoch, sizeBytes, lockedUntil } = row
  try {
    const directory = parseDirectory(row.directory, undefined, { packId })
    return [{ packId, generation, epoch, sizeBytes, directory, ...(lockedUntil === null ? {} : { lockedUntil }) }]
  } catch {
    return []
  }
}

function* inParts<T>(items: readonly T[], bytesOf: (item: T) => number = () => 0): Generator<T[]> {
  let part: T[] = []
  let bytes = 0
  for (const item of items) {
    bytes += bytesOf(item)
    if (part.length === PACKS_A_QUERY || (part.length > 0 && bytes > DIRECTORIES_A_QUERY_BYTES)) {
      yield part
      part = []
      bytes = bytesOf(item)
    }
    part.push(item)
  }
  if (part.length > 0) yield part
}
