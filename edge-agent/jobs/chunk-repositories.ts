import { mkdir, readdir, statfs } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { readOptionalFile, writeSecretFile } from '@sendense/shared/runtime/secret-file.ts'
import type { SigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import { retryingStore } from '../object-store/layers/retrying-store.ts'
import { openLocalStore } from '../object-store/local/local-store.ts'
import { ObjectStoreConfig } from '../object-store/object-store-config.ts'
import type { ObjectStore } from '../object-store/object-store.ts'
import { openObjectStore } from '../object-store/open-object-store.ts'
import { createChunkRepository } from '../repository/chunk-store/create-chunk-repository.ts'
import type { Recipient } from '../repository/chunk-store/format/key-file.ts'
import type { PackCatalogue } from '../repository/chunk-store/index/pack-catalogue.ts'
import { type KeyRing, systemKeySources } from '../repository/chunk-store/keys/key-ring.ts'
import { KeyStore } from '../repository/chunk-store/keys/key-store.ts'
import { newPassphraseRecipient } from '../repository/chunk-store/keys/passphrase-recipient.ts'
import {
  exportRecipientKey,
  generateRecipientKey,
  importRecipientKey,
  newKeyRecipient,
} from '../repository/chunk-store/keys/recipients.ts'
import { openChunkRepository, readDescriptor } from '../repository/chunk-store/open-chunk-repository.ts'
import { listSigners } from '../repository/chunk-store/signer-objects.ts'
import { withRepositoryErrors } from '../repository/repository-errors.ts'
import type { RepositoryCapacity } from '../repository/repository.ts'
import type { RepositoryEntry } from './repository-registry.ts'

/** What the agent needs to open a chunk repository by itself, in a file only it can read. */
const ChunkRepositorySecret = z.strictObject({
  version: z.literal(1),
  repositoryId: z.uuid(),
  name: z.string().min(1).max(255),
  /** With credentials. */
  store: ObjectStoreConfig,
  /** Of the store, for people. */
  location: z.string().max(1000),
  /** The agent's own key, to which the key ring is sealed. PEM. */
  agentKey: z.string(),
  /** Of the key ring: a stranger's is not believed. */
  identity: z.string(),
  protection: z.strictObject({ mode: z.enum(['governance', 'compliance']), days: z.int().positive() }).optional(),
})
type ChunkRepositorySecret = z.infer<typeof ChunkRepositorySecret>

export interface NewAgentRepository {
  readonly stateDir: string
  readonly name: string
  readonly store: ObjectStoreConfig
  /** Opens the repository where the agent is lost. At least 12 characters. */
  readonly passphrase: string
  /** What is written is retained until its generation has ended and so many days more. */
  readonly protection?: { readonly mode: 'governance' | 'compliance'; readonly days: number }
  readonly newId: () => string
  readonly clock: Clock
}

/**
 * Makes a chunk repository that this agent and a passphrase can open. A directory that is empty becomes a store.
 * @returns its id. Rejects with `repository.locked` where there is one already, `input.invalid`, `storage.*`
 */
export async function createAgentRepository(wanted: NewAgentRepository, { signal }: CallOptions): Promise<string> {
  const { passphrase, newId, clock } = wanted
  const repositoryId = newId()
  await using store = await openNewStore(wanted, { signal })
  const { agent, agentKey } = newAgentKey(wanted)
  const person = { recipientId: newId(), label: 'passphrase', passphrase }
  const recipients = [agent, await newPassphraseRecipient(person, systemKeySources)]
  using ring = await createChunkRepository({ store, repositoryId, createdAt: clock.now(), recipients }, { signal })
  await rememberRepository(wanted, { repositoryId, store, agentKey, ring })
  return repositoryId
}

/**
 * Lets this agent open a repository that is there, with its passphrase: the agent's own key is added to its key files.
 * @returns its id. Rejects with `repository.not_a_repository`, `repository.key_wrong`, `repository.key_*`, `storage.*`
 */
export async function adoptAgentRepository(wanted: NewAgentRepository, { signal }: CallOptions): Promise<string> {
  const { passphrase } = wanted
  await using store = retryingStore(await openObjectStore(wanted.store, { signal }))
  const { repositoryId } = await readDescriptor(store, { signal })
  const keyStore = new KeyStore({ store, repositoryId })
  const loaded = await keyStore.load({ kind: 'passphrase', passphrase }, { signal })
  const { agent, agentKey } = newAgentKey(wanted)
  const { ring } = await keyStore.change(loaded, { add: [agent] }, { signal })
  await rememberRepository(wanted, { repositoryId, store, agentKey, ring })
  return repositoryId
}

/** The agent's own way into the key files of one repository. */
function newAgentKey({ newId, clock }: NewAgentRepository) {
  const agentKey = generateRecipientKey()
  const facts = { recipientId: newId(), label: 'agent', createdAt: clock.now() }
  return { agentKey, agent: newKeyRecipient('agent', agentKey, facts) }
}

interface OpenedRepository {
  readonly repositoryId: string
  readonly store: ObjectStore
  readonly agentKey: ReturnType<typeof generateRecipientKey>
  readonly ring: KeyRing
}

/** Writes down what the agent opens the repository with from now on. */
async function rememberRepository(
  { stateDir, name, store, protection }: NewAgentRepository,
  opened: OpenedRepository,
): Promise<void> {
  await writeSecret(stateDir, {
    version: 1,
    repositoryId: opened.repositoryId,
    name,
    store,
    location: opened.store.description,
    agentKey: exportRecipientKey(opened.agentKey),
    identity: opened.ring.identity,
    ...(protection === undefined ? {} : { protection }),
  })
}

export interface ChunkRepositoryOptions {
  readonly stateDir: string
  readonly agentId: string
  readonly signingKey: SigningKey
  readonly packs: (repositoryId: string) => PackCatalogue
  /** Memory of packs under way in one thread of the mover. */
  readonly writeBytesPerThread?: number
  readonly clock: Clock
  readonly logger: Logger
}

/** The chunk repositories that this agent made or was let into. Throws `config.invalid` where one cannot be read. */
export async function chunkRepositoryEntries(options: ChunkRepositoryOptions): Promise<RepositoryEntry[]> {
  return (await readSecrets(options.stateDir)).map((secret) => ({
    record: {
      repositoryId: secret.repositoryId,
      name: secret.name,
      kind: 'chunk-store' as const,
      location: secret.location,
    },
    open: async ({ signal }) => await openAgentRepository(secret, options, { signal }),
  }))
}

/** Their ids, names and places, without keys. */
export async function listAgentRepositories(stateDir: string) {
  return (await readSecrets(stateDir)).map(({ repositoryId, name, location }) => ({ repositoryId, name, location }))
}

/** Opens the store and the keys of one of them. The caller closes the store and erases the keys. */
export async function openAgentKeys(stateDir: string, repositoryId: string, { signal }: CallOptions) {
  const secret = (await readSecrets(stateDir)).find((candidate) => candidate.repositoryId === repositoryId)
  if (secret === undefined) {
    throw new PlatformError('repository.missing', `this agent has no chunk repository ${repositoryId}`)
  }
  const store = retryingStore(await openObjectStore(secret.store, { signal }))
  return { store, keys: await loadKeys(secret, store, { signal }) }
}

/**
 * Lets somebody else open a chunk repository of this agent too.
 * @returns false where the agent has no chunk repository of this id
 * Rejects with `repository.locked` where the keys are changed just now, `repository.key_*`, `storage.*`
 */
export async function addAgentRecipient(
  stateDir: string,
  repositoryId: string,
  recipient: Recipient,
  { signal }: CallOptions,
): Promise<boolean> {
  const secret = (await readSecrets(stateDir)).find((candidate) => candidate.repositoryId === repositoryId)
  if (secret === undefined) return false
  await using store = retryingStore(await openObjectStore(secret.store, { signal }))
  const keyStore = new KeyStore({ store, repositoryId })
  const own = { kind: 'private-key', privateKey: importRecipientKey(secret.agentKey) } as const
  const loaded = await keyStore.load(own, { identity: secret.identity, signal })
  using _ring = loaded.ring
  const { ring } = await keyStore.change(loaded, { add: [recipient] }, { signal })
  ring[Symbol.dispose]()
  return true
}

async function openAgentRepository(
  secret: ChunkRepositorySecret,
  { agentId, signingKey, packs, writeBytesPerThread, clock, logger }: ChunkRepositoryOptions,
  { signal }: CallOptions,
) {
  const { repositoryId, protection } = secret
  return await withRepositoryErrors(`opening the repository in ${secret.location}`, async () => {
    const store = await openObjectStore(secret.store, { signal })
    const keys = await loadKeys(secret, retryingStore(store), { signal })
    // Other agents', too: who wrote there could only say so with the keys of the repository.
    const { signers } = await listSigners(retryingStore(store), { repositoryId, keys }, { signal })
    const trustedPublicKeys = signers.map(({ publicKey }) => publicKey)
    const settings = {
      ...(protection === undefined ? {} : { protection }),
      ...(writeBytesPerThread === undefined ? {} : { writeBytesPerThread }),
    }
    const shared = { agentId, signingKey, trustedPublicKeys, settings, clock, logger }
    const place = { store, storeConfig: secret.store, expectedRepositoryId: repositoryId, ...spaceOf(secret.store) }
    return await openChunkRepository({ ...shared, ...place, keys, catalogue: packs(repositoryId) }, { signal })
  })
}

async function loadKeys(secret: ChunkRepositorySecret, store: ObjectStore, { signal }: CallOptions) {
  const { repositoryId, identity } = secret
  const privateKey = importRecipientKey(secret.agentKey)
  const loaded = await new KeyStore({ store, repositoryId }).load(
    { kind: 'private-key', privateKey },
    { identity, signal },
  )
  return loaded.ring
}

async function openNewStore({ store: config, protection }: NewAgentRepository, { signal }: CallOptions) {
  if (config.kind !== 'directory') return await openObjectStore(config, { signal })
  const { kind: _kind, ...place } = config
  return await openLocalStore({ ...place, create: { worm: protection !== undefined }, signal })
}

/** Only a file system has an end that can be asked for. */
function spaceOf(config: ObjectStoreConfig): { measureSpace?: () => Promise<RepositoryCapacity> } {
  if (config.kind !== 'directory') return {}
  const { directory } = config
  return {
    measureSpace: async () => {
      const { bsize, blocks, bavail } = await statfs(directory)
      return { capacityBytes: blocks * bsize, freeBytes: bavail * bsize }
    },
  }
}

function secretsDirOf(stateDir: string): string {
  return path.join(stateDir, 'chunk-repositories')
}

async function writeSecret(stateDir: string, secret: ChunkRepositorySecret): Promise<void> {
  await mkdir(secretsDirOf(stateDir), { recursive: true, mode: 0o700 })
  const file = path.join(secretsDirOf(stateDir), `${secret.repositoryId}.json`)
  await writeSecretFile(file, JSON.stringify(ChunkRepositorySecret.parse(secret)))
}

async function readSecrets(stateDir: string): Promise<ChunkRepositorySecret[]> {
  const directory = secretsDirOf(stateDir)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const secrets: ChunkRepositorySecret[] = []
  for (const name of (await readdir(directory)).toSorted()) {
    if (!name.endsWith('.json')) continue
    const parsed = ChunkRepositorySecret.safeParse(parseJson(await readOptionalFile(path.join(directory, name))))
    // Messages of the parser may hold what it parsed: they stay here.
    if (!parsed.success) throw new PlatformError('config.invalid', `${path.join(directory, name)} cannot be read`)
    secrets.push(parsed.data)
  }
  return secrets
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
