import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { Argon2Parameters, type Recipient } from '../format/key-file.ts'
import { deriveKeyPair } from './hpke.ts'
import type { KeySources } from './key-ring.ts'
import { normalPassphrase, passphraseSeed } from './passphrase-seed.ts'
import { recipientOf } from './recipients.ts'

const SALT_BYTES = 32
export const PASSPHRASE_MIN_CHARACTERS = 12

/** RFC 9106, 4, second recommendation, with four times the memory: whoever copies the repository may try for years. */
export const passphraseCostDefault = { memoryKib: 256 * 1024, passes: 3, lanes: 4 } as const
export type PassphraseCost = Omit<Argon2Parameters, 'salt'>

export interface NewPassphrase {
  readonly recipientId: string
  readonly label: string
  /** At least 12 characters. */
  readonly passphrase: string
  readonly cost?: PassphraseCost
}

/** Rejects with `input.invalid` for a passphrase that is too short or a cost out of bounds. */
export async function newPassphraseRecipient(
  { recipientId, label, passphrase, cost = passphraseCostDefault }: NewPassphrase,
  sources: KeySources,
): Promise<Recipient> {
  if (Array.from(normalPassphrase(passphrase)).length < PASSPHRASE_MIN_CHARACTERS) {
    throw new PlatformError('input.invalid', `a passphrase has at least ${PASSPHRASE_MIN_CHARACTERS} characters`)
  }
  const salt = Buffer.from(sources.randomBytes(SALT_BYTES)).toString('base64')
  const argon2 = Argon2Parameters.safeParse({ salt, ...cost })
  if (!argon2.success) throw new PlatformError('input.invalid', argon2.error.message)
  const seed = await passphraseSeed(passphrase, argon2.data)
  const privateKey = deriveKeyPair(seed)
  seed.fill(0)
  return recipientOf('passphrase', privateKey, { recipientId, label, createdAt: sources.now() }, argon2.data)
}
