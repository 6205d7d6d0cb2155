import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { readOptionalFile, writeSecretFile } from '@sendense/shared/runtime/secret-file.ts'
import { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import { enrolCaptureAgent } from '../tunnel/enrol-capture-agent.ts'
import { type EnrolmentToken, parseEnrolmentToken } from '../tunnel/enrolment-token.ts'
import { generateEd25519Key } from '../tunnel/ssh/ed25519-key.ts'

const IDENTITY_FILE = 'identity.json'
/** Written before the edge agent hears of the key, so that a lost answer loses no key. */
const PENDING_FILE = 'enrolling.json'

/** Who this capture agent is, and which edge agent it belongs to. */
export const CaptureIdentity = z.strictObject({
  version: z.literal(1),
  captureAgentId: z.uuid(),
  /** Of this host, as the edge agent's operator named it. */
  name: z.string().min(1).max(255),
  host: z.string().min(1).max(255),
  port: z.int().min(1).max(65_535),
  /** Fingerprint of the edge agent's host key. */
  hostKey: z.string().min(1),
  ports: z.tuple([z.int()], z.int()),
  /** PEM; leaves this file for nobody. */
  key: z.string().min(1),
})
export type CaptureIdentity = z.infer<typeof CaptureIdentity>

/** Rejects with `capture.not_enrolled`, `config.invalid` where the file cannot be trusted. */
export async function readIdentity(stateDir: string): Promise<CaptureIdentity> {
  const identity = await readFileAt(stateDir, IDENTITY_FILE)
  if (identity !== undefined) return identity
  throw new PlatformError('capture.not_enrolled', `the capture agent of ${stateDir} belongs to no edge agent yet`)
}

/**
 * Makes a key and has the edge agent take it for the token's. Said again with the same token after a lost answer, it
 * goes on with the same key; said again after it worked, it does nothing.
 * Rejects with `capture.already_enrolled` where it belongs to another one and `replace` is not set, or as
 * `enrolCaptureAgent` and `parseEnrolmentToken`; then the identity from before is kept.
 */
export async function enrol(
  stateDir: string,
  { token: given, replace, signal }: CallOptions & { readonly token: string; readonly replace: boolean },
): Promise<CaptureIdentity> {
  const token = parseEnrolmentToken(given)
  const before = await readFileAt(stateDir, IDENTITY_FILE)
  if (before?.captureAgentId === token.captureAgentId) return before
  if (before !== undefined && !replace) {
    const text = `this capture agent belongs to the edge agent at ${before.host}:${before.port}, as ${before.name}`
    throw new PlatformError('capture.already_enrolled', text)
  }
  const pending = await readFileAt(stateDir, PENDING_FILE)
  const identity = pending?.captureAgentId === token.captureAgentId ? pending : newIdentity(token)
  await writeFileAt(stateDir, PENDING_FILE, identity)
  await enrolCaptureAgent(token, identity.key, { signal })
  await writeFileAt(stateDir, IDENTITY_FILE, identity)
  await rm(join(stateDir, PENDING_FILE), { force: true })
  return identity
}

function newIdentity(token: EnrolmentToken): CaptureIdentity {
  const { captureAgentId, name, host, port, hostKey } = token
  const ports = token.ports.toSorted((a, b) => a - b)
  return CaptureIdentity.parse({
    version: 1,
    captureAgentId,
    name,
    host,
    port,
    hostKey,
    ports,
    key: generateEd25519Key(),
  })
}

async function readFileAt(stateDir: string, file: string): Promise<CaptureIdentity | undefined> {
  const path = join(stateDir, file)
  const text = await readOptionalFile(path)
  if (text === undefined) return undefined
  const parsed = CaptureIdentity.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  throw new PlatformError('config.invalid', `${path} is not the identity of a capture agent`)
}

async function writeFileAt(stateDir: string, file: string, identity: CaptureIdentity): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 })
  await writeSecretFile(join(stateDir, file), `${JSON.stringify(identity, null, 2)}\n`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
