import { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import { asc, gt, lte } from 'drizzle-orm'
import type { EventOutbox } from '../event-outbox.ts'
import type { SettingStore } from '../setting-store.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { eventOutbox } from './schema.ts'

const MOVED_MAX = 1_000_000

export function createMariadbOutbox(
  tx: DatabaseTransaction,
  settings: SettingStore,
  onAppend: () => void,
): EventOutbox {
  const outbox: EventOutbox = {
    async append(event, at) {
      // The counter's row lock makes appending transactions wait for each other: no gaps, order of commits.
      const sequence = (await settings.getNumber('event-sequence')) + 1
      await settings.setNumber('event-sequence', sequence)
      await tx.insert(eventOutbox).values({ sequence, at, event: JSON.stringify(AgentEvent.parse(event)) })
      onAppend()
      return sequence
    },
    async list({ after, limit }) {
      const rows = await tx
        .select()
        .from(eventOutbox)
        .where(gt(eventOutbox.sequence, after))
        .orderBy(asc(eventOutbox.sequence))
        .limit(limit)
      return rows.map((row) => ({ ...row, event: AgentEvent.parse(JSON.parse(row.event)) }))
    },
    async highMark() {
      return await settings.getNumber('event-sequence')
    },
    async trim(sequence) {
      await tx.delete(eventOutbox).where(lte(eventOutbox.sequence, sequence))
    },
    async moveBehind(sequence) {
      await settings.getNumber('event-sequence')
      const kept = await outbox.list({ after: 0, limit: MOVED_MAX })
      await tx.delete(eventOutbox)
      await settings.setNumber('event-sequence', sequence)
      for (const { event, at } of kept) await outbox.append(event, at)
    },
  }
  return outbox
}
