/** A repository the agent was configured with. Its keys are not here. */
export interface RepositoryRecord {
  readonly repositoryId: string
  readonly name: string
  readonly kind: 'qcow2-chain' | 'chunk-store'
  readonly location: string
}

export interface RepositoryStore {
  find(repositoryId: string): Promise<RepositoryRecord | undefined>
  /** Ordered by name. */
  list(): Promise<RepositoryRecord[]>
  put(record: RepositoryRecord): Promise<void>
}
