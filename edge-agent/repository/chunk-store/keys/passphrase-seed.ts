import { hashRaw } from '@node-rs/argon2'
import type { Argon2Parameters } from '../format/key-file.ts'

const SEED_BYTES = 32

/**
 * Argon2id of a passphrase (the package's default algorithm, version 19); 32 bytes for `deriveKeyPair`. Runs outside the event loop's thread.
 * @param argon2 parsed: its bounds are what limits memory and time
 */
export async function passphraseSeed(passphrase: string, argon2: Argon2Parameters): Promise<Buffer> {
  return await hashRaw(normalPassphrase(passphrase), {
    memoryCost: argon2.memoryKib,
    timeCost: argon2.passes,
    parallelism: argon2.lanes,
    outputLen: SEED_BYTES,
    salt: Buffer.from(argon2.salt, 'base64'),
  })
}

/** Keyboards write the same letter in different ways: é as one character or as two. */
export function normalPassphrase(passphrase: string): string {
  return passphrase.normalize('NFKC')
}
