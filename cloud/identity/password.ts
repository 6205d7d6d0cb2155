import { hash, verify } from '@node-rs/argon2'

/** Argon2id with the package's defaults, which are OWASP's (19 MiB, 2 passes, 1 lane), as a PHC string. */
export async function hashPassword(password: string): Promise<string> {
  return await hash(password)
}

let decoy: Promise<string> | undefined

/**
 * True where the password is the one behind the hash. Without a hash (an unknown user) it does the same
 * work and is false, so that the time of the answer tells nothing.
 */
export async function isPassword(passwordHash: string | undefined, password: string): Promise<boolean> {
  decoy ??= hashPassword('a password nobody has')
  const matches = await verify(passwordHash ?? (await decoy), password)
  return passwordHash !== undefined && matches
}
