import { eq } from 'drizzle-orm'
import type { SettingStore } from '../setting-store.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { setting } from './schema.ts'

export function createMariadbSettingStore(tx: DatabaseTransaction): SettingStore {
  return {
    async getNumber(key) {
      const [row] = await tx.select().from(setting).where(eq(setting.name, key)).for('update')
      return row?.value ?? 0
    },
    async setNumber(key, value) {
      await tx.insert(setting).values({ name: key, value }).onDuplicateKeyUpdate({ set: { value } })
    },
  }
}
