import { randomUUID } from 'node:crypto'
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'

/** A log-in that outlives the process. The token is a secret: the file is readable by its owner only. */
export const StoredSession = z.strictObject({
  version: z.literal(1),
  /** Origin the token belongs to; it is sent nowhere else. */
  url: z.url(),
  token: z.string().min(1),
  email: z.string(),
  expiresAt: z.iso.datetime(),
})
export type StoredSession = z.infer<typeof StoredSession>

/** Undefined where there is none, or where what is there cannot be read as one. */
export async function findSession(path: string): Promise<StoredSession | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  try {
    return StoredSession.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

/** Replaces the session whole, mode 0600, in a directory of mode 0700. */
export async function writeSession(path: string, session: StoredSession): Promise<void> {
  const directory = dirname(path)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const temporary = `${path}.${randomUUID()}`
  await writeFile(temporary, `${JSON.stringify(session, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' })
  await chmod(temporary, 0o600)
  await rename(temporary, path)
}

export async function deleteSession(path: string): Promise<void> {
  await rm(path, { force: true })
}
