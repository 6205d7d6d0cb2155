import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import type { JobEngine } from '../jobs/job-engine.ts'
import type { RepositoryRegistry } from '../jobs/repository-registry.ts'
import type { VmInventory } from '../jobs/vm-inventory.ts'

/** What commands work with. */
export interface CommandContext {
  readonly catalogue: Catalogue
  readonly jobs: JobEngine
  readonly inventory: VmInventory
  readonly repositories: RepositoryRegistry
  readonly clock: Clock
  readonly logger: Logger
}
