import { randomBytes } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { ENROLMENT_SECRET } from './tunnel-users.ts'

const PREFIX = 'sendense-capture-1.'
const SECRET_BYTES = 32
const TOKEN_CHARS_MAX = 8192

/** What a capture agent needs to find the edge agent, to know it, and to be let in once (FORMAT.md). */
export const EnrolmentToken = z.strictObject({
  host: z.string().min(1).max(255),
  port: z.int().min(1).max(65_535),
  /** Fingerprint of the host key. */
  hostKey: z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/),
  captureAgentId: z.uuid(),
  /** Of the capture host. */
  name: z.string().min(1).max(255),
  ports: z.array(z.int().min(1).max(65_535)).min(1).max(1024),
  secret: z.string().regex(ENROLMENT_SECRET),
})
export type EnrolmentToken = z.infer<typeof EnrolmentToken>

export function generateEnrolmentSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url')
}

export function printEnrolmentToken(token: EnrolmentToken): string {
  return PREFIX + Buffer.from(JSON.stringify(token)).toString('base64url')
}

/** @throws PlatformError `tunnel.token_invalid` where it is no such token, or not all of it */
export function parseEnrolmentToken(text: string): EnrolmentToken {
  const trimmed = text.trim()
  const isPlausible = trimmed.startsWith(PREFIX) && trimmed.length <= TOKEN_CHARS_MAX
  const parsed = EnrolmentToken.safeParse(isPlausible ? parseJson(trimmed.slice(PREFIX.length)) : undefined)
  if (parsed.success) return parsed.data
  throw new PlatformError('tunnel.token_invalid', 'that is no token for a capture agent, or only a part of one')
}

function parseJson(base64url: string): unknown {
  try {
    return JSON.parse(Buffer.from(base64url, 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
}
