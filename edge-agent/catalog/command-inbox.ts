import type { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'

/** `received`: durable, not yet handled. `dispatched`: its job exists. The rest is final. */
export type InboxState = 'received' | 'dispatched' | 'succeeded' | 'failed' | 'rejected' | 'cancelled'

export interface InboxEntry {
  readonly payload: CommandPayload
  readonly state: InboxState
  readonly receivedAt: Date
}

/** Commands, durable before they are acknowledged to the broker; the command's id is the key of its effect. */
export interface CommandInbox {
  find(commandId: string): Promise<InboxEntry | undefined>
  /** Does nothing where the id exists. */
  insert(entry: InboxEntry): Promise<void>
  setState(commandId: string, state: InboxState): Promise<void>
  /** State `received`, in order of sequence. */
  listReceived(limit: number): Promise<InboxEntry[]>
  /** Highest sequence taken in, whatever became of it; 0 at first. */
  lastSequence(): Promise<number>
  /** Removes entries in a final state that were received before. Their sequences stay used up. */
  trim(before: Date): Promise<void>
}
