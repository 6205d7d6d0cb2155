import { expectObjectKey, expectObjectPrefix } from './object-key.ts'
import type { CallOptions, ObjectVersion, ObjectVersions } from './object-store.ts'
import { downloadWhole, type GetRange } from './ranged-download.ts'

export interface VersionDriver {
  /** Pages of versions under a prefix, newest first within a key. */
  list(prefix: string, options: CallOptions): AsyncIterable<readonly ObjectVersion[]>
  rangesOf(key: string, versionId: string): GetRange
}

/** The versions of a store as its driver lists and reads them; keys and prefixes are checked before it is asked. */
export function checkedVersions(driver: VersionDriver): ObjectVersions {
  return {
    list: (prefix, options) => {
      expectObjectPrefix(prefix)
      return driver.list(prefix, options)
    },
    get: async (key, versionId, options) => {
      expectObjectKey(key)
      return await downloadWhole(key, driver.rangesOf(key, versionId), options)
    },
  }
}
