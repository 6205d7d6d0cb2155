import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { encodeKeyFile, type Recipient } from '../format/key-file.ts'
import { DESCRIPTOR_KEY, keyFileKey, prefixes, type RingName } from '../format/object-keys.ts'
import { KeyRing, type KeySources, type RingChange, systemKeySources } from './key-ring.ts'
import { openRing, RecipientKeys, type RecipientSecret, sealRing } from './recipients.ts'
import { listRings, missingKeys, type ReadRing, readRing, ringText } from './ring-listing.ts'

export interface KeyStoreOptions {
  /** Not owned: it outlives the key store. */
  readonly store: ObjectStore
  readonly repositoryId: string
  /** Where other than system time and randomness are wanted. */
  readonly sources?: KeySources
}

export interface LoadOptions extends CallOptions {
  /** What `KeyRing.identity` was when these keys were first used here. Without it a ring is believed for opening. */
  readonly identity?: string
}

/** The keys of a repository, as they lie in its store. */
export interface LoadedKeys {
  /** The newest ring, with the epochs of all others that opened. */
  readonly ring: KeyRing
  /** Keys of the newest ring's files that are missing or damaged: those recipients cannot open it. */
  readonly missingKeys: readonly string[]
  /** Keys of all files, of whatever ring, that are not as they were written. A newer epoch may be in one of them. */
  readonly damagedKeys: readonly string[]
  /** All rings that opened, for `change`. */
  readonly openedRings: readonly RingName[]
}

export interface ChangedKeys {
  readonly ring: KeyRing
  /** Keys of older files that the store retains: what they open is only what was written before the change. */
  readonly retainedKeys: readonly string[]
}

/**
 * Key rings in an object store: each ring is one file a recipient, written once. A newer ring counts when all its
 * files are there; older ones are deleted after that. So whatever stops in between, each recipient that is in both
 * can open one of them, and no key is lost. FORMAT.md, "Key files".
 *
 * Rejects with `storage.*` besides what is named.
 */
export class KeyStore {
  readonly #store: ObjectStore
  readonly #repositoryId: string
  readonly #sources: KeySources

  constructor({ store, repositoryId, sources = systemKeySources }: KeyStoreOptions) {
    this.#store = store
    this.#repositoryId = repositoryId
    this.#sources = sources
  }

  /**
   * Makes the keys of a new repository. The repository must not exist before this resolves.
   * Rejects with `repository.locked` where there are key files already, `input.invalid`.
   */
  async create(recipients: readonly Recipient[], options: CallOptions): Promise<KeyRing> {
    const ring = KeyRing.create(this.#repositoryId, recipients, this.#sources)
    await this.#expectNoOther([], options)
    await this.#write(ring, options)
    await this.#expectAlone(ring, [], options)
    return ring
  }

  /**
   * Deletes what a creation left that did not come to its end. Rejects with `repository.locked` where anything says
   * that the repository exists: its descriptor, a pack or a manifest.
   */
  async discardUnfinished(options: CallOptions): Promise<void> {
    for (const prefix of [DESCRIPTOR_KEY, prefixes.packs, prefixes.manifests]) {
      for await (const [found] of this.#store.list(prefix, options)) {
        if (found === undefined) continue
        const text = `the keys of repository ${this.#repositoryId} are in use: there is ${found.key}`
        throw new PlatformError('repository.locked', text)
      }
    }
    await this.destroy(options)
  }

  /**
   * Loads what one recipient may open.
   * Rejects with `repository.key_wrong` where the secret opens nothing, `repository.key_missing` where there are no
   * key files, `repository.key_file_invalid` where those it might open are damaged, `repository.key_untrusted` where
   * what it opens is of another identity than asked for, or of several.
   */
  async load(secret: RecipientSecret, options: LoadOptions): Promise<LoadedKeys> {
    const keys = new RecipientKeys(secret)
    const opened: OpenedRing[] = []
    const damaged: string[] = []
    let fileCount = 0
    for (const listed of await listRings(this.#store, options)) {
      const read = await readRing(this.#store, listed, this.#repositoryId, options)
      fileCount += listed.objectKeys.length
      damaged.push(...read.damagedKeys)
      const ring = await openOwn(keys, read, damaged)
      if (ring !== undefined) opened.push({ ring, missing: missingKeys(ring, read) })
    }
    if (opened.length === 0) throw nothingOpened(fileCount, damaged)
    return joined(expectOneIdentity(opened, options.identity), damaged)
  }

  /**
   * Writes a new ring with other recipients or a new epoch, or the same anew where files were missing. Then deletes
   * the rings it takes the place of.
   * @param loaded what `load` gave; its ring stays valid
   * Rejects with `repository.locked` where somebody else changes the keys just now: nothing was changed then. When it
   * rejects otherwise the old or the new ring counts; both have all keys.
   */
  async change(loaded: LoadedKeys, change: RingChange, options: CallOptions): Promise<ChangedKeys> {
    const listed = await listRings(this.#store, options)
    const number = 1 + Math.max(loaded.ring.ringNumber, ...listed.map(({ ringNumber }) => ringNumber))
    const ring = loaded.ring.changed(change, number, this.#sources)
    await this.#write(ring, options)
    await this.#expectAlone(ring, listed, options)
    const replaced = new Set(loaded.openedRings.map((name) => ringText(name)))
    const retainedKeys: string[] = []
    for (const old of listed.filter((name) => replaced.has(ringText(name)))) {
      retainedKeys.push(...(await this.#delete(old.objectKeys, options)))
    }
    return { ring, retainedKeys }
  }

  /**
   * Deletes every key file, of whatever ring: nobody can read the repository afterwards, and nothing brings it back.
   * Rejects with `storage.immutable` where some are retained; all others are gone then.
   */
  async destroy(options: CallOptions): Promise<void> {
    const objectKeys: string[] = []
    for await (const page of this.#store.list(prefixes.keyFiles, options))
      objectKeys.push(...page.map(({ key }) => key))
    const retained = await this.#delete(objectKeys, options)
    if (retained.length === 0) return
    const text = `${retained.length} key files are retained: ${retained[0]} and others can still be read`
    throw new PlatformError('storage.immutable', text, { details: { retained: retained.length } })
  }

  async #write(ring: KeyRing, { signal }: CallOptions): Promise<void> {
    for (const recipient of ring.recipients) {
      const key = keyFileKey(ring, recipient.recipientId)
      const bytes = encodeKeyFile(sealRing(ring, recipient, this.#sources))
      await this.#store.put(key, bytes, { signal })
      const found = await this.#store.get(key, { signal })
      if (Buffer.compare(found, bytes) !== 0) {
        throw new PlatformError('repository.key_file_invalid', `${key} is not as it was written`)
      }
    }
  }

  /** Of two who change keys at once at least one sees the other here, and takes its own back. */
  async #expectAlone(ring: KeyRing, known: readonly RingName[], options: CallOptions): Promise<void> {
    try {
      await this.#expectNoOther([...known, ring], options)
    } catch (error) {
      await this.#delete(
        ring.recipients.map(({ recipientId }) => keyFileKey(ring, recipientId)),
        options,
      )
      throw error
    }
  }

  async #expectNoOther(known: readonly RingName[], options: CallOptions): Promise<void> {
    const names = new Set(known.map((name) => ringText(name)))
    const other = (await listRings(this.#store, options)).find((listed) => !names.has(ringText(listed)))
    if (other === undefined) return
    const text = `the keys of repository ${this.#repositoryId} have a ring ${ringText(other)} that is somebody else's`
    throw new PlatformError('repository.locked', text)
  }

  /** @returns keys of those that the store retains */
  async #delete(objectKeys: readonly string[], { signal }: CallOptions): Promise<string[]> {
    const retained: string[] = []
    for (const key of objectKeys) {
      try {
        await this.#store.delete(key, { signal })
      } catch (error) {
        if (!(error instanceof PlatformError) || error.code !== 'storage.immutable') throw error
        retained.push(key)
      }
    }
    return retained
  }
}

interface OpenedRing {
  readonly ring: KeyRing
  readonly missing: readonly string[]
}

/** Adds the key of a file that is ours and does not open to `damaged`. */
async function openOwn(keys: RecipientKeys, read: ReadRing, damaged: string[]): Promise<KeyRing | undefined> {
  for (const file of read.files) {
    const privateKey = await keys.find(file.recipient)
    if (privateKey === undefined) continue
    try {
      return openRing(file, privateKey)
    } catch (error) {
      if (!(error instanceof PlatformError) || error.code !== 'repository.key_file_invalid') throw error
      damaged.push(keyFileKey(file, file.recipient.recipientId))
    }
  }
  return undefined
}

function nothingOpened(fileCount: number, damaged: readonly string[]): PlatformError {
  if (fileCount === 0) return new PlatformError('repository.key_missing', 'the repository has no key files')
  if (damaged.length > 0) {
    return new PlatformError('repository.key_file_invalid', `${damaged[0]} is damaged, and no other opens`, {
      details: { damaged: damaged.length },
    })
  }
  return new PlatformError('repository.key_wrong', 'none of the key files of the repository opens with this')
}

/** A ring of strangers would be used to encrypt what they then can read. */
function expectOneIdentity(opened: readonly OpenedRing[], identity: string | undefined): readonly OpenedRing[] {
  const believed = identity === undefined ? opened : opened.filter(({ ring }) => ring.identity === identity)
  const identities = new Set(believed.map(({ ring }) => ring.identity))
  if (identities.size === 1) return believed
  const found = new Set(opened.map(({ ring }) => ring.identity))
  throw new PlatformError('repository.key_untrusted', `its key rings are of identity ${[...found].join(' and ')}`)
}

/** The newest ring whose files are all there counts; where none is whole, the newest. */
function joined(opened: readonly OpenedRing[], damagedKeys: readonly string[]): LoadedKeys {
  const newest = opened.find(({ missing }) => missing.length === 0) ?? opened[0]
  if (newest === undefined) throw new TypeError('no ring was opened')
  const others = opened.filter((other) => other !== newest).map(({ ring }) => ring)
  return {
    ring: newest.ring.joinedWith(others.toReversed()),
    missingKeys: newest.missing,
    damagedKeys,
    openedRings: opened.map(({ ring: { ringNumber, ringId } }) => ({ ringNumber, ringId })),
  }
}
