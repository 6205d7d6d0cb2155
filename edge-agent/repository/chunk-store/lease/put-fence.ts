import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { encodeFence, type Fence } from '../format/fence.ts'
import type { SealContext } from '../format/object-context.ts'
import { fenceKey } from '../format/object-keys.ts'

export interface FenceOptions extends CallOptions {
  readonly store: ObjectStore
  readonly context: SealContext
  readonly fence: Pick<Fence, 'writerId' | 'fencedBy' | 'clocks'>
  /** What the writer's lease says; undefined where it cannot be read. */
  readonly point: Pick<Fence, 'vmId' | 'restorePointId'> | undefined
}

/** Shuts a writer out for good. What he seals from now on is void. */
export async function putFence({ store, context, fence, point, signal }: FenceOptions): Promise<void> {
  const { vmId, restorePointId } = point ?? {}
  const whole: Fence = {
    version: 1,
    ...fence,
    ...(vmId === undefined ? {} : { vmId }),
    ...(restorePointId === undefined ? {} : { restorePointId }),
  }
  await store.put(fenceKey(fence.writerId), encodeFence(whole, context), { signal })
}
