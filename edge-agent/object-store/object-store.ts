export interface CallOptions {
  readonly signal: AbortSignal
}

/** What is known of an object without reading it. */
export interface ObjectFacts {
  readonly key: string
  readonly sizeBytes: number
  /** When the store took the object in, by the store's own clock. */
  readonly modifiedAt: Date
}

/**
 * Content that need not be in memory as a whole. It is read from the start to the end, one piece after the other, and
 * from the start again when the put is tried again: it must not change meanwhile.
 */
export interface ObjectSource {
  readonly sizeBytes: number
  /** Fills `into` with the bytes from `offsetBytes` on. */
  read(offsetBytes: number, into: Uint8Array, options: CallOptions): Promise<void>
}

export type ObjectBody = Uint8Array | ObjectSource

export interface PutOptions extends CallOptions {
  /** What the body hashes to, 64 lower-case hexadecimal digits. A body that does not is refused. */
  readonly sha256?: string
}

export interface ListOptions extends CallOptions {
  /** Only keys behind this one. */
  readonly after?: string
}

/**
 * Opaque objects by key. A key is written once and then only deleted, so readers need no locks.
 *
 * Keys are 1 to 512 characters of `A–Z a–z 0–9 _ - . =` in segments between slashes; a segment begins with a letter, a
 * digit or `_` and has at most 200 characters. No key is a folder of another: beside `a/b` there is no `a`. Keys of others
 * in the same place, which do not look like that, are never listed. Prefixes are the start of a key, or empty.
 *
 * A store does not retry, throttle or count: layers around it do that once for all drivers. Every method rejects with
 * the reason of its signal, with `input.invalid` for a key that is none, or with `storage.*`: errors whose retry advice
 * is `backoff` may be gone at the next try, and the call that failed may have had its effect all the same.
 * This contract is executable: object-store-guarantees.ts.
 */
export interface ObjectStore extends AsyncDisposable {
  /** Where it is, for people: `bucket backups at s3.example.net`. No credentials. */
  readonly description: string
  /** Larger objects are refused with `input.invalid`. */
  readonly objectMaxBytes: number
  /** Absent: nothing here outlives who may delete. */
  readonly immutability?: ObjectImmutability
  /** Absent: a key has one content, and what was deleted is gone. */
  readonly versions?: ObjectVersions
  /** Absent: all objects are at hand. */
  readonly tiers?: ObjectTiers
  /**
   * Stores an object, whole and durable when it resolves. When it rejects or the process dies, the object is whole or
   * absent. The body is the caller's again when it settles. Putting the same bytes again resolves: that is what a
   * retry after a lost answer does. Callers never put other bytes under a key that exists; where one does, they take
   * the place of the old ones whole, or are refused.
   * Rejects with `storage.checksum_mismatch` when the body is not what `sha256` says; the object is absent then.
   */
  put(key: string, body: ObjectBody, options: PutOptions): Promise<void>
  find(key: string, options: CallOptions): Promise<ObjectFacts | undefined>
  /** The whole object, in memory that is the caller's. Rejects with `storage.not_found`. */
  get(key: string, options: CallOptions): Promise<Uint8Array>
  /**
   * Fills `into` with the object's bytes from `offsetBytes` on. The buffer is the caller's again when it settles.
   * Rejects with `storage.not_found`, or with `input.invalid` when the range leaves the object.
   */
  read(key: string, offsetBytes: number, into: Uint8Array, options: CallOptions): Promise<void>
  /**
   * Pages of what is there, in the order of the keys' bytes; no page is empty. Contains every object whose put had
   * resolved, and none whose delete had resolved, before the listing began; of others, any.
   */
  list(prefix: string, options: ListOptions): AsyncIterable<readonly ObjectFacts[]>
  /**
   * Deletes an object with all its versions. Resolves also when there is none.
   * Rejects with `storage.immutable` while one of them is retained or held; the current one stays then.
   */
  delete(key: string, options: CallOptions): Promise<void>
}

/**
 * governance: who holds a special right may lift it · compliance: nobody can, not even the owner of the account.
 */
export type RetentionMode = 'governance' | 'compliance'

export interface Retention {
  readonly mode: RetentionMode
  /** The first instant at which the object may be deleted; whole seconds. */
  readonly retainUntil: Date
}

/** Objects that cannot be deleted or replaced before a date. Legal hold and retention are independent of each other. */
export interface ObjectImmutability {
  /**
   * As `put`, and resolves when the object is there with its retention. Putting it again extends a retention that is
   * there. In one request wherever the store can; a store that forgets the retention of large objects is told it again.
   */
  put(key: string, body: ObjectBody, options: PutOptions & { readonly retention: Retention }): Promise<void>
  /**
   * Retains an object, or extends its retention. Never shortens: an earlier date than it has, a date that has passed
   * or another mode than it has rejects with `storage.retention_refused`. Rejects with `storage.not_found`.
   */
  setRetention(key: string, retention: Retention, options: CallOptions): Promise<void>
  /**
   * What the store itself says at this moment: the date that may be shown as proven. Undefined: not retained.
   * Rejects with `storage.not_found`.
   */
  findRetention(key: string, options: CallOptions): Promise<Retention | undefined>
  /** A held object cannot be deleted, whatever its retention. Rejects with `storage.not_found`. */
  setLegalHold(key: string, held: boolean, options: CallOptions): Promise<void>
  hasLegalHold(key: string, options: CallOptions): Promise<boolean>
  /**
   * As `delete`, also where a retention in governance mode has not ended. Needs a right that agents do not have.
   * Rejects with `storage.immutable` for compliance mode and legal holds.
   */
  deleteBypassingGovernance(key: string, options: CallOptions): Promise<void>
}

export interface ObjectVersion extends ObjectFacts {
  readonly versionId: string
  /** What `get` answers with. */
  readonly current: boolean
  /** A mark that hides the versions below it, as a delete without a version leaves it; it has no content. */
  readonly deleteMark: boolean
}

/** What was put over or deleted by others is still there: what an intruder did can be undone. */
export interface ObjectVersions {
  /** Pages of all versions under a prefix, delete marks too; newest first within a key. */
  list(prefix: string, options: CallOptions): AsyncIterable<readonly ObjectVersion[]>
  /** Rejects with `storage.not_found`. */
  get(key: string, versionId: string, options: CallOptions): Promise<Uint8Array>
}

export type ObjectTier = 'hot' | 'cool' | 'archive'

export interface ObjectTierFacts {
  readonly tier: ObjectTier
  /** Where it is on its way to; it cannot be read before it is there. */
  readonly rehydratingTo?: 'hot' | 'cool'
}

/** Cheaper places with slower or dearer reads. In the archive an object can be found and deleted, not read. */
export interface ObjectTiers {
  /** Rejects with `storage.not_found`; with `storage.archived` out of the archive: that is `rehydrate`. */
  setTier(key: string, tier: ObjectTier, options: CallOptions): Promise<void>
  getTier(key: string, options: CallOptions): Promise<ObjectTierFacts>
  /** Asks for an archived object; it comes hours later. Resolves also when it is on its way or at hand already. */
  rehydrate(
    key: string,
    options: CallOptions & { readonly to: 'hot' | 'cool'; readonly priority: 'standard' | 'high' },
  ): Promise<void>
}
