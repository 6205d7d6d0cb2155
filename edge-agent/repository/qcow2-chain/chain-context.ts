import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { createQcow2Image } from '../../qemu/qemu-img.ts'
import type { QemuSecret } from '../../qemu/qemu-secret.ts'
import type { ManifestStore } from './manifest-store.ts'
import type { PlacementStore } from './placement-store.ts'
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

/** The steps of deleting a restore point and of merging layers, in order, after which a test may kill the process. */
export const deleteSteps = [
  'manifest-unlinked',
  'manifest-gone',
  'unneeded-removed',
  'merge-copied',
  'merge-synced',
  'merged-renamed',
  'merged-checked',
  'placement-written',
  'placement-durable',
  'points-switched',
  'old-layers-removed',
] as const
export type ChainStep = (typeof sealSteps)[number] | (typeof deleteSteps)[number]

/** What the parts of one open QCOW2 repository share. */
export interface ChainContext {
  readonly dir: string
  readonly descriptor: RepositoryDescriptor
  readonly manifests: ManifestStore
  readonly placements: PlacementStore
  /** Key of the chunk ids. */
  readonly idKey: Uint8Array
  /** Encrypts the layers; undefined: they are not encrypted. */
  readonly layerSecret: QemuSecret | undefined
  readonly runtimeDir: string
  readonly chainLayersMax: number
  readonly clock: Clock
  readonly logger: Logger | undefined
  readonly createImage: typeof createQcow2Image
  /** Called at each step of sealing, deleting and merging; what it throws is the step's failure. */
  readonly crashPoint: (step: ChainStep) => void
}
