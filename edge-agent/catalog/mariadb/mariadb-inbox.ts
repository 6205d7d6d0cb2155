import { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import { and, asc, eq, inArray, lt } from 'drizzle-orm'
import { z } from 'zod'
import type { CommandInbox, InboxEntry, InboxState } from '../command-inbox.ts'
import type { SettingStore } from '../setting-store.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { commandInbox } from './schema.ts'

const State = z.enum(['received', 'dispatched', 'succeeded', 'failed', 'rejected', 'cancelled'])
const finalStates: InboxState[] = ['succeeded', 'failed', 'rejected', 'cancelled']

export function createMariadbInbox(tx: DatabaseTransaction, settings: SettingStore): CommandInbox {
  const inbox: CommandInbox = {
    async find(commandId) {
      const [row] = await tx.select().from(commandInbox).where(eq(commandInbox.commandId, commandId)).for('update')
      return row === undefined ? undefined : parseRow(row)
    },
    async insert({ payload, state, receivedAt }) {
      const last = await settings.getNumber('command-sequence')
      if ((await inbox.find(payload.commandId)) !== undefined) return
      await settings.setNumber('command-sequence', Math.max(last, payload.sequence))
      await tx.insert(commandInbox).values({
        commandId: payload.commandId,
        sequence: payload.sequence,
        state,
        payload: JSON.stringify(payload),
        receivedAt,
      })
    },
    async setState(commandId, state) {
      await tx.update(commandInbox).set({ state }).where(eq(commandInbox.commandId, commandId))
    },
    async listReceived(limit) {
      const rows = await tx
        .select()
        .from(commandInbox)
        .where(eq(commandInbox.state, 'received'))
        .orderBy(asc(commandInbox.sequence))
        .limit(limit)
      return rows.map(parseRow)
    },
    async lastSequence() {
      return await settings.getNumber('command-sequence')
    },
    async trim(before) {
      await tx
        .delete(commandInbox)
        .where(and(inArray(commandInbox.state, finalStates), lt(commandInbox.receivedAt, before)))
    },
  }
  return inbox
}

function parseRow(row: typeof commandInbox.$inferSelect): InboxEntry {
  return {
    payload: CommandPayload.parse(JSON.parse(row.payload)),
    state: State.parse(row.state),
    receivedAt: row.receivedAt,
  }
}
