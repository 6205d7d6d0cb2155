import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import { Instant } from '@sendense/shared/contracts/identifiers.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { deriveKey, keyPurposes } from '../format/hkdf.ts'
import { isUuid } from '../format/identity-bytes.ts'
import { Recipient } from '../format/key-file.ts'
import { parseUtf8Json } from '../format/object-context.ts'
import type { RingName } from '../format/object-keys.ts'
import type { RepositoryKeys } from '../format/repository-keys.ts'

const KEY_BYTES = 32
const EPOCHS_MAX = 1000
export const RECIPIENTS_MAX = 64

const Key = z.base64().transform((text, context) => {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.length !== KEY_BYTES) context.addIssue('a key of 32 bytes')
  return bytes
})
const Epoch = z.strictObject({ epoch: z.int().min(1).max(0xffffffff), key: Key, createdAt: Instant })

const RingContent = z
  .strictObject({
    version: z.literal(1),
    repositoryId: z.string().refine(isUuid),
    ringNumber: z.int().positive().max(99_999_999),
    ringId: z.string().regex(/^[0-9a-f]{16}$/),
    createdAt: Instant,
    idKey: Key,
    macKey: Key,
    /** Oldest first. */
    epochs: z.array(Epoch).min(1).max(EPOCHS_MAX),
    recipients: z.array(Recipient).min(1).max(RECIPIENTS_MAX),
  })
  .refine(({ epochs }) => new Set(epochs.map(({ epoch }) => epoch)).size === epochs.length, 'each epoch once')
  .refine(
    ({ recipients }) => new Set(recipients.map(({ recipientId }) => recipientId)).size === recipients.length,
    'each recipient once',
  )
type RingContent = z.infer<typeof RingContent>

/** Time and randomness that new keys are made of. */
export interface KeySources {
  readonly now: () => Date
  /** Bytes that cannot be guessed and do not repeat. */
  readonly randomBytes: (lengthBytes: number) => Uint8Array
}
export const systemKeySources: KeySources = { now: () => new Date(), randomBytes: (length) => randomBytes(length) }

export interface RingChange {
  /** One that is in the ring already, just so, is left as it is. */
  readonly add?: readonly Recipient[]
  /** Recipient ids. Whoever is removed still knows the keys that there were: a new epoch begins. */
  readonly remove?: readonly string[]
  /** A new key for what is written from now on. Default: only where a recipient is removed. */
  readonly newEpoch?: boolean
}

/**
 * The secrets of one repository, in memory. Never changes; printing it or making JSON of it shows no key. Disposing
 * it erases the keys: nothing that was taken from it may be used afterwards.
 */
export class KeyRing implements RepositoryKeys, RingName, Disposable {
  readonly repositoryId: string
  readonly ringNumber: number
  /** 64 random bits, hexadecimal. */
  readonly ringId: string
  readonly recipients: readonly Recipient[]
  readonly #content: RingContent
  readonly #epochs: ReadonlyMap<number, Uint8Array>

  private constructor(content: RingContent) {
    this.repositoryId = content.repositoryId
    this.ringNumber = content.ringNumber
    this.ringId = content.ringId
    this.recipients = content.recipients
    this.#content = content
    this.#epochs = new Map(content.epochs.map(({ epoch, key }) => [epoch, key]))
  }

  /** The first ring of a new repository. Throws `input.invalid` without recipients, or with one twice. */
  static create(repositoryId: string, recipients: readonly Recipient[], sources: KeySources): KeyRing {
    return KeyRing.#checked({
      version: 1,
      repositoryId,
      ringNumber: 1,
      ringId: Buffer.from(sources.randomBytes(8)).toString('hex'),
      createdAt: sources.now().toISOString(),
      idKey: keyText(sources),
      macKey: keyText(sources),
      epochs: [newEpoch([], sources)],
      recipients: [...recipients],
    })
  }

  /** What `toBytes` gave. Throws `repository.key_file_invalid`; messages hold nothing of the content. */
  static parse(bytes: Uint8Array): KeyRing {
    let json: unknown
    try {
      json = parseUtf8Json(bytes)
    } catch {
      throw new PlatformError('repository.key_file_invalid', 'the key ring is no JSON')
    }
    const parsed = RingContent.safeParse(json)
    if (parsed.success) return new KeyRing(parsed.data)
    const where = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
    throw new PlatformError('repository.key_file_invalid', `the key ring is not as it must be at: ${where}`)
  }

  static #checked(content: z.input<typeof RingContent>): KeyRing {
    const parsed = RingContent.safeParse(content)
    if (parsed.success) return new KeyRing(parsed.data)
    const why = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join(', ')
    throw new PlatformError('input.invalid', `no key ring can be made of this: ${why}`)
  }

  /** The whole content, secrets too: to be sealed, or handed to a thread of this process. */
  toBytes(): Buffer {
    return Buffer.from(JSON.stringify(plainContent(this.#content)))
  }

  /** 32 bytes; chunk ids are computed with it. The same for the life of the repository: so deduplication goes on. */
  get idKey(): Uint8Array {
    return this.#content.idKey
  }

  get macKey(): Uint8Array {
    return this.#content.macKey
  }

  get newestEpoch(): number {
    const newest = this.#content.epochs.at(-1)
    assert(newest !== undefined)
    return newest.epoch
  }

  /** Oldest first. */
  get epochs(): readonly number[] {
    return this.#content.epochs.map(({ epoch }) => epoch)
  }

  epochKey(epoch: number): Uint8Array {
    const key = this.#epochs.get(epoch)
    if (key !== undefined) return key
    const text = `there is no key of epoch ${epoch} in ring ${this.ringNumber} of repository ${this.repositoryId}`
    throw new PlatformError('repository.key_missing', text, { details: { epoch } })
  }

  /**
   * 32 hexadecimal digits that are the same for all rings of this repository and for no other, and tell nothing of
   * the keys. Who remembers it cannot be given a stranger's ring.
   */
  get identity(): string {
    return deriveKey(this.idKey, this.macKey, keyPurposes.ringIdentity).toString('hex').slice(0, 32)
  }

  /**
   * A new ring with all keys of this one. Throws `input.invalid` where nobody would be left, or a recipient to be
   * removed is none.
   */
  changed(change: RingChange, ringNumber: number, sources: KeySources): KeyRing {
    const removed = new Set(change.remove ?? [])
    for (const recipientId of removed) {
      if (!this.recipients.some((recipient) => recipient.recipientId === recipientId)) {
        throw new PlatformError('input.invalid', `${recipientId} is no recipient of ring ${this.ringNumber}`)
      }
    }
    const content = plainContent(this.#content)
    const kept = this.recipients.filter(({ recipientId }) => !removed.has(recipientId))
    const known = new Set(kept.map((recipient) => JSON.stringify(recipient)))
    const added = (change.add ?? []).filter((recipient) => !known.has(JSON.stringify(recipient)))
    const startsEpoch = change.newEpoch === true || removed.size > 0
    return KeyRing.#checked({
      ...content,
      ringNumber,
      ringId: Buffer.from(sources.randomBytes(8)).toString('hex'),
      createdAt: sources.now().toISOString(),
      epochs: startsEpoch ? [...content.epochs, newEpoch(this.epochs, sources)] : content.epochs,
      recipients: [...kept, ...added],
    })
  }

  /** This ring with the epochs of others of the same repository besides, as older ones. */
  joinedWith(others: readonly KeyRing[]): KeyRing {
    assert(others.every((other) => other.identity === this.identity))
    const content = plainContent(this.#content)
    const known = new Set(this.epochs)
    const missing = new Map(
      others
        .flatMap((other) => plainContent(other.#content).epochs)
        .filter(({ epoch }) => !known.has(epoch))
        .map((epoch) => [epoch.epoch, epoch]),
    )
    return KeyRing.#checked({ ...content, epochs: [...missing.values(), ...content.epochs] })
  }

  [Symbol.dispose](): void {
    for (const { key } of this.#content.epochs) key.fill(0)
    this.#content.idKey.fill(0)
    this.#content.macKey.fill(0)
  }

  toJSON(): object {
    const { repositoryId, ringNumber, ringId } = this
    return { repositoryId, ringNumber, ringId, keys: 'not shown' }
  }

  [inspect.custom](): string {
    return `KeyRing ${this.ringNumber} of repository ${this.repositoryId} (keys not shown)`
  }
}

function plainContent(content: RingContent): z.input<typeof RingContent> {
  return {
    ...content,
    idKey: content.idKey.toString('base64'),
    macKey: content.macKey.toString('base64'),
    epochs: content.epochs.map(({ epoch, key, createdAt }) => ({ epoch, key: key.toString('base64'), createdAt })),
  }
}

function keyText(sources: KeySources): string {
  return Buffer.from(sources.randomBytes(KEY_BYTES)).toString('base64')
}

/** Epochs have random numbers: two that begin at once in different places are not taken for each other. */
function newEpoch(taken: readonly number[], sources: KeySources): z.input<typeof Epoch> {
  let epoch = 0
  while (epoch === 0 || taken.includes(epoch)) epoch = Buffer.from(sources.randomBytes(4)).readUInt32LE()
  return { epoch, key: keyText(sources), createdAt: sources.now().toISOString() }
}
