import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { ObjectStore } from '../object-store.ts'

/**
 * A store that cannot be changed: `put` and `delete` reject with `storage.read_only` before the store below hears of them,
 * and the abilities that change something are not there. It owns `store`.
 */
export function readOnlyStore(store: ObjectStore): ObjectStore {
  const { description, objectMaxBytes, versions } = store
  const refuse = async (key: string): Promise<never> => {
    throw new PlatformError('storage.read_only', `${description} was opened to be read only: ${key} is not changed`)
  }
  return {
    description,
    objectMaxBytes,
    ...(versions === undefined ? {} : { versions }),
    put: refuse,
    delete: refuse,
    find: async (key, options) => await store.find(key, options),
    get: async (key, options) => await store.get(key, options),
    read: async (key, offsetBytes, into, options) => await store.read(key, offsetBytes, into, options),
    list: (prefix, options) => store.list(prefix, options),
    [Symbol.asyncDispose]: async () => await store[Symbol.asyncDispose](),
  }
}
