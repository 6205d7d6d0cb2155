import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectFacts, ObjectStore } from '../../../object-store/object-store.ts'

/** All objects under a prefix. */
export async function* listObjects(
  store: ObjectStore,
  prefix: string,
  options: CallOptions,
): AsyncGenerator<ObjectFacts> {
  for await (const page of store.list(prefix, options)) yield* page
}

/**
 * Remembers the newest object that was seen: a store whose clock went back holds objects that are newer than now, and
 * no age can be relied on.
 */
export class NewestObject {
  #facts: ObjectFacts | undefined

  see(facts: ObjectFacts): void {
    if (this.#facts === undefined || facts.modifiedAt > this.#facts.modifiedAt) this.#facts = facts
  }

  /** Throws `repository.clock_jumped` where it is newer than `storeMs` by more than the slack. */
  expectOlderThan(storeMs: number, slackMs: number): void {
    const { modifiedAt, key } = this.#facts ?? {}
    if (modifiedAt === undefined || modifiedAt.getTime() <= storeMs + slackMs) return
    const now = new Date(storeMs).toISOString()
    const text = `${key} was put at ${modifiedAt.toISOString()}, later than it is by the clock of the store: ${now}`
    throw new PlatformError('repository.clock_jumped', text)
  }
}
