import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions, ObjectStore } from './object-store.ts'
import { runParallel } from './run-parallel.ts'

const DELETES_AT_ONCE = 8
const POLL_MS = 2000

export interface LeftBehind {
  readonly key: string
  readonly why: string
}

/**
 * Deletes everything under a prefix, with all versions. What is retained is tried again until `waitMs` have passed; what is
 * left then is told. Rejects when the store cannot be listed.
 */
export async function deleteLeftovers(
  store: ObjectStore,
  prefix: string,
  { signal, clock, waitMs }: CallOptions & { clock: Clock; waitMs: number },
): Promise<LeftBehind[]> {
  const endMs = clock.now().getTime() + waitMs
  for (;;) {
    const left: LeftBehind[] = []
    await runParallel(
      await keysUnder(store, prefix, { signal }),
      { concurrency: DELETES_AT_ONCE, signal },
      async (key, call) => {
        const why = await tryDelete(store, key, call)
        if (why !== undefined) left.push({ key, why })
      },
    )
    if (left.length === 0 || clock.now().getTime() >= endMs) return left
    await clock.sleep(POLL_MS, { signal })
  }
}

async function keysUnder(store: ObjectStore, prefix: string, options: CallOptions): Promise<Set<string>> {
  const keys = new Set<string>()
  for await (const page of store.list(prefix, options)) for (const { key } of page) keys.add(key)
  if (store.versions === undefined) return keys
  for await (const page of store.versions.list(prefix, options)) for (const { key } of page) keys.add(key)
  return keys
}

/** Undefined when it is gone. Governance is lifted where the right is there: it is only for the trial. */
async function tryDelete(store: ObjectStore, key: string, options: CallOptions): Promise<string | undefined> {
  const { immutability } = store
  try {
    if (immutability === undefined) await store.delete(key, options)
    else {
      await immutability.deleteBypassingGovernance(key, options).catch(async (error: unknown) => {
        if (!isPlatformError(error, 'storage.access_denied')) throw error
        await store.delete(key, options)
      })
    }
    return undefined
  } catch (error) {
    options.signal.throwIfAborted()
    if (isPlatformError(error)) return `${error.code}: ${error.message}`
    throw error
  }
}
