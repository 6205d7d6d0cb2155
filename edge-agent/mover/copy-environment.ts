import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { FairShareOwner } from './slabs/fair-queue.ts'
import { SlabPool } from './slabs/slab-pool.ts'

const LONE_COPY_BYTES = 16 * 1024 * 1024

/** What a copy needs of who runs it. */
export interface CopyEnvironment {
  readonly slabs: SlabPool
  /** Takes the copy's memory. Its owner disposes it when the copy has settled and disks that were opened for it are closed. */
  readonly held: DisposableStack
  readonly clock: Clock
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number
  /** For retry delays: 0 to 1. */
  readonly random: () => number
}

export type ThreadEnvironment = Omit<CopyEnvironment, 'held'>

/** The thread's clocks, and memory to share. */
export function createThreadEnvironment(memory: SharedArrayBuffer): ThreadEnvironment {
  return { slabs: new SlabPool(memory), clock: systemClock, nowMs: () => performance.now(), random: Math.random }
}

/** For a copy that is alone: memory as much as one copy uses. */
export function loneCopyEnvironment(): CopyEnvironment {
  return { ...createThreadEnvironment(new SharedArrayBuffer(LONE_COPY_BYTES)), held: new DisposableStack() }
}

/** An owner nobody else is. */
export function newOwner(): FairShareOwner {
  const jobId = randomUUID()
  return { tenantId: jobId, jobId }
}
