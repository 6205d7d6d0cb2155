import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { ManifestStore } from './manifest-store.ts'
import type { RepositoryDescriptor } from './repository-descriptor.ts'

/** The steps of sealing, in order, after which a test may kill the process. */
export const sealSteps = [
  'sinks-flushed',
  'daemon-stopped',
  'layers-synced',
  'layer-renamed',
  'layers-durable',
  'pages-durable',
  'manifest-written',
  'manifest-durable',
] as const
export type SealStep = (typeof sealSteps)[number]

/** What the parts of one open QCOW2 repository share. */
export interface ChainContext {
  readonly dir: string
  readonly descriptor: RepositoryDescriptor
  readonly manifests: ManifestStore
  readonly runtimeDir: string
  readonly chainLayersMax: number
  readonly clock: Clock
  readonly logger: Logger | undefined
  /** Called at each step of sealing; what it throws is the step's failure. */
  readonly crashPoint: (step: SealStep) => void
}
