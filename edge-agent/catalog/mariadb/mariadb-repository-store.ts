import { asc, eq } from 'drizzle-orm'
import { z } from 'zod'
import type { RepositoryRecord, RepositoryStore } from '../repository-store.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { repository } from './schema.ts'

const Kind = z.enum(['qcow2-chain', 'chunk-store'])

export function createMariadbRepositoryStore(tx: DatabaseTransaction): RepositoryStore {
  return {
    async find(repositoryId) {
      const [row] = await tx.select().from(repository).where(eq(repository.repositoryId, repositoryId))
      return row === undefined ? undefined : parseRow(row)
    },
    async list() {
      return (await tx.select().from(repository).orderBy(asc(repository.name))).map(parseRow)
    },
    async put({ repositoryId, ...rest }) {
      await tx
        .insert(repository)
        .values({ repositoryId, ...rest })
        .onDuplicateKeyUpdate({ set: rest })
    },
  }
}

function parseRow(row: typeof repository.$inferSelect): RepositoryRecord {
  return { ...row, kind: Kind.parse(row.kind) }
}
