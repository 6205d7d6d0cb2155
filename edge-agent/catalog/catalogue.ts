import type { CaptureAgentStore } from './capture-agent-store.ts'
import type { CommandInbox } from './command-inbox.ts'
import type { EventOutbox } from './event-outbox.ts'
import type { JobStore } from './job-store.ts'
import type { RepositoryStore } from './repository-store.ts'
import type { RestorePointStore } from './restore-point-store.ts'
import type { SettingStore } from './setting-store.ts'
import type { VmContextStore } from './vm-context-store.ts'

/** Everything the agent remembers, seen from inside one transaction. */
export interface CatalogueTransaction {
  readonly settings: SettingStore
  readonly vms: VmContextStore
  readonly jobs: JobStore
  readonly restorePoints: RestorePointStore
  readonly repositories: RepositoryStore
  readonly captureAgents: CaptureAgentStore
  readonly inbox: CommandInbox
  readonly outbox: EventOutbox
}

/** The agent's memory. This contract is executable: catalogue.conformance.ts. */
export interface Catalogue extends AsyncDisposable {
  /**
   * Runs `work` in one transaction: all of it becomes durable, or nothing when it rejects.
   *
   * Waits for a database that is away until `signal` aborts. `work` may run more than once, even after a run
   * that did take effect (the answer to the commit got lost), so it must be idempotent by its ids and touch
   * nothing outside.
   * Rejects with what `work` rejects with, `database.unavailable`, or the signal's reason.
   */
  transaction<T>(work: (tx: CatalogueTransaction) => Promise<T>, options: { readonly signal: AbortSignal }): Promise<T>
  /** `listener` is called after each commit that appended to the outbox. Returns how to stop it. */
  onEventsAppended(listener: () => void): () => void
}
