import { randomBytes } from 'node:crypto'
import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { readOptionalFile, writeSecretFile } from '@sendense/shared/runtime/secret-file.ts'
import type { SigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { openQcow2Repository } from '../repository/qcow2-chain/qcow2-repository.ts'
import { createQcow2Repository } from '../repository/qcow2-chain/repository-descriptor.ts'
import type { RepositoryEntry } from './repository-registry.ts'

/** What the agent must not lose of a repository, in a file only it can read: without the key no chunk can be proven. */
const RepositorySecret = z.strictObject({
  repositoryId: z.uuid(),
  name: z.string(),
  dir: z.string(),
  /** 32 bytes, base64. */
  idKey: z.base64(),
  /** 32 bytes, base64: encrypts its layers. Absent: they are not encrypted. */
  layerKey: z.base64().optional(),
  /** Its descriptor was made: from then on an empty place means that the storage is away, not that it is new. */
  made: z.boolean(),
})
export type RepositorySecret = z.infer<typeof RepositorySecret>

export interface LocalRepositoryOptions {
  readonly stateDir: string
  readonly dir: string
  readonly name: string
  /** Whether what is stored is encrypted; `none` unless given. Of a repository that is there it must say what that is. */
  readonly encryption?: 'none' | 'luks'
  /** Sockets: a short path. */
  readonly runtimeDir: string
  readonly signingKey: SigningKey
  readonly newId: () => string
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * The repository of QCOW2 chains in a directory of this machine; made when it is first opened, with keys of its own.
 * Rejects with `config.invalid` where it is there already and encrypted otherwise than asked for.
 */
export async function prepareLocalRepository(options: LocalRepositoryOptions): Promise<RepositoryEntry> {
  const secretsDir = secretsDirOf(options)
  await mkdir(secretsDir, { recursive: true, mode: 0o700 })
  const secret = (await findSecret(secretsDir, options.dir)) ?? (await makeSecret(secretsDir, options))
  const encryption = secret.layerKey === undefined ? 'none' : 'luks'
  if (encryption !== (options.encryption ?? 'none')) {
    const text = `the repository in ${options.dir} was made with encryption ${encryption}: that cannot be changed`
    throw new PlatformError('config.invalid', text)
  }
  return entryOf(options, secret)
}

/** The same where it is there already; makes nothing. Undefined: this agent has made none in that directory. */
export async function findLocalRepository(
  options: Omit<LocalRepositoryOptions, 'name' | 'newId' | 'encryption'>,
): Promise<RepositoryEntry | undefined> {
  const secret = await findSecret(secretsDirOf(options), options.dir)
  return secret?.made === true ? entryOf(options, secret) : undefined
}

/** What the agent keeps of the repository of this id, with its keys; undefined where it made none. */
export async function findLocalSecret(stateDir: string, repositoryId: string): Promise<RepositorySecret | undefined> {
  const text = await readOptionalFile(path.join(secretsDirOf({ stateDir }), `${repositoryId}.json`))
  return text === undefined ? undefined : RepositorySecret.parse(JSON.parse(text))
}

function secretsDirOf({ stateDir }: { readonly stateDir: string }): string {
  return path.join(stateDir, 'repositories')
}

function entryOf(
  options: Omit<LocalRepositoryOptions, 'name' | 'newId' | 'encryption'>,
  initial: RepositorySecret,
): RepositoryEntry {
  const { dir, runtimeDir, signingKey, clock, logger } = options
  const { repositoryId, name } = initial
  let secret = initial
  return {
    record: { repositoryId, name, kind: 'qcow2-chain', location: dir },
    async open({ signal }) {
      const layerKey = secret.layerKey === undefined ? {} : { layerKey: Buffer.from(secret.layerKey, 'base64') }
      if (!secret.made) {
        await createQcow2Repository({ dir, repositoryId, ...layerKey, clock }, { signal })
        secret = await writeSecret(secretsDirOf(options), { ...secret, made: true })
      }
      const idKey = Buffer.from(secret.idKey, 'base64')
      const trustedPublicKeys = [signingKey.publicKey]
      const keys = { idKey, ...layerKey, signingKey, trustedPublicKeys }
      return await openQcow2Repository(
        { dir, expectedRepositoryId: repositoryId, ...keys, runtimeDir, clock, logger },
        { signal },
      )
    },
  }
}

async function findSecret(secretsDir: string, dir: string): Promise<RepositorySecret | undefined> {
  for (const name of await namesIn(secretsDir)) {
    if (!name.endsWith('.json')) continue
    const text = await readOptionalFile(path.join(secretsDir, name))
    if (text === undefined) continue
    const secret = RepositorySecret.parse(JSON.parse(text))
    if (secret.dir === dir) return secret
  }
  return undefined
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

async function makeSecret(
  secretsDir: string,
  { dir, name, newId, encryption }: LocalRepositoryOptions,
): Promise<RepositorySecret> {
  const idKey = randomBytes(32).toString('base64')
  const layerKey = encryption !== 'luks' ? {} : { layerKey: randomBytes(32).toString('base64') }
  return await writeSecret(secretsDir, { repositoryId: newId(), name, dir, idKey, ...layerKey, made: false })
}

async function writeSecret(secretsDir: string, secret: RepositorySecret): Promise<RepositorySecret> {
  await writeSecretFile(path.join(secretsDir, `${secret.repositoryId}.json`), JSON.stringify(secret))
  return secret
}
