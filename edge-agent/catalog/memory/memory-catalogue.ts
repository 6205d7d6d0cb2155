import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Catalogue, CatalogueTransaction } from '../catalogue.ts'
import { createMemoryState, createMemoryTransaction } from './memory-transaction.ts'

export interface MemoryCatalogue extends Catalogue {
  /** While true every transaction rejects with `database.unavailable`. */
  unavailable: boolean
  /** While true the answer to every commit gets lost once: what took effect is run again. */
  answersLost: boolean
}

/** A catalogue for tests and simulation: transactions run one at a time on a copy that replaces the original on commit. */
export function createMemoryCatalogue(): MemoryCatalogue {
  let state = createMemoryState()
  let queue: Promise<unknown> = Promise.resolve()
  const listeners = new Set<() => void>()

  const commit = async <T>(work: (tx: CatalogueTransaction) => Promise<T>): Promise<T> => {
    const copy = structuredClone(state)
    const result = await work(createMemoryTransaction(copy))
    const appended = copy.eventSequence > state.eventSequence
    state = copy
    if (appended) for (const listener of listeners) listener()
    return result
  }

  const catalogue: MemoryCatalogue = {
    unavailable: false,
    answersLost: false,
    transaction(work, { signal }) {
      const run = queue.then(async () => {
        signal.throwIfAborted()
        if (catalogue.unavailable) throw new PlatformError('database.unavailable', 'the catalogue is switched off')
        if (catalogue.answersLost) await commit(work)
        return await commit(work)
      })
      queue = run.catch(() => undefined)
      return run
    },
    onEventsAppended(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async [Symbol.asyncDispose]() {
      await queue
    },
  }
  return catalogue
}
