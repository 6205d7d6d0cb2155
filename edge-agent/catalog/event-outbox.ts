import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'

export interface OutboxEvent {
  readonly sequence: number
  readonly at: Date
  readonly event: AgentEvent
}

/**
 * Events for the cloud, kept until it acknowledges them. Sequences have no gaps and follow the order of commits:
 * transactions that append wait for each other.
 */
export interface EventOutbox {
  /** Rejects with a ZodError an event that the cloud would not understand: it would hold up all after it. */
  append(event: AgentEvent, at: Date): Promise<number>
  /** In order, after `sequence`. */
  list(options: { readonly after: number; readonly limit: number }): Promise<OutboxEvent[]>
  /** Highest sequence ever given out; 0 at first. */
  highMark(): Promise<number>
  /** Removes all up to `sequence`. */
  trim(sequence: number): Promise<void>
  /** Makes what is kept, and what will come, follow after `sequence`: the catalogue is younger than the cloud's memory. */
  moveBehind(sequence: number): Promise<void>
}
