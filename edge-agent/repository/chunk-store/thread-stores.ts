import { retryingStore } from '../../object-store/layers/retrying-store.ts'
import type { ObjectStoreConfig } from '../../object-store/object-store-config.ts'
import type { CallOptions, ObjectStore } from '../../object-store/object-store.ts'
import { openObjectStore } from '../../object-store/open-object-store.ts'

interface OpenStore {
  readonly opening: Promise<ObjectStore>
  users: number
}

/** A store that others in this thread may use too. Disposing gives it back. */
export interface BorrowedStore extends AsyncDisposable {
  readonly store: ObjectStore
}

/** The object stores of one thread: each is opened once, for all disks that are open at the time. */
export class ThreadStores {
  readonly #open = new Map<string, OpenStore>()

  /** Rejects as opening the store does, or with the signal's reason. */
  async borrow(config: ObjectStoreConfig, { signal }: CallOptions): Promise<BorrowedStore> {
    const name = JSON.stringify(config)
    const known = this.#open.get(name) ?? this.#begin(name, config)
    known.users += 1
    const giveBack = async (): Promise<void> => {
      known.users -= 1
      if (known.users > 0) return
      if (this.#open.get(name) === known) this.#open.delete(name)
      const store = await known.opening.catch(() => undefined)
      await store?.[Symbol.asyncDispose]()
    }
    try {
      const store = await known.opening
      signal.throwIfAborted()
      return { store, [Symbol.asyncDispose]: giveBack }
    } catch (error) {
      await giveBack()
      throw error
    }
  }

  #begin(name: string, config: ObjectStoreConfig): OpenStore {
    // Whoever asked first may give up: others go on. Every driver ends its opening by itself.
    const opening = openObjectStore(config, { signal: new AbortController().signal }).then((store) =>
      retryingStore(store),
    )
    const begun = { opening, users: 0 }
    opening.catch(() => this.#open.delete(name))
    this.#open.set(name, begun)
    return begun
  }
}
