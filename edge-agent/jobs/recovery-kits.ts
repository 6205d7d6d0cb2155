import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { SigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../block/block-source.ts'
import { deriveKey, keyPurposes } from '../repository/chunk-store/format/hkdf.ts'
import { encodeKeyFile, type Recipient } from '../repository/chunk-store/format/key-file.ts'
import { keyFileKey, parseKeyFileKey, prefixes, signerKey } from '../repository/chunk-store/format/object-keys.ts'
import { encodeSigner } from '../repository/chunk-store/format/signer.ts'
import { KeyRing, systemKeySources } from '../repository/chunk-store/keys/key-ring.ts'
import { sealRing } from '../repository/chunk-store/keys/recipients.ts'
import { RecoveryKit } from '../repository/chunk-store/keys/recovery-kit.ts'
import { makeDirectoryDurably, writeDurably } from '../repository/qcow2-chain/durable-file.ts'
import { withRepositoryErrors } from '../repository/repository-errors.ts'
import { addAgentRecipient } from './chunk-repositories.ts'
import { findLocalSecret, type RepositorySecret } from './local-repository.ts'

export interface NewRecoveryKit {
  readonly stateDir: string
  /** Of a chunk repository, or of the local one, of this agent. */
  readonly repositoryId: string
  /** For people: whose kit it is. */
  readonly label: string
  /** Of this agent: whose manifests the kit's holder will believe. */
  readonly signingKey: SigningKey
  readonly newId: () => string
  readonly clock: Clock
}

/**
 * Makes a recovery kit that opens a repository of this agent without the agent. Kits that were made before stay good.
 * @returns the kit, to be printed and erased; from now on it opens the repository
 * Rejects with `repository.missing` where the agent has no such repository, `repository.*`, `storage.*`.
 */
export async function createRecoveryKit(wanted: NewRecoveryKit, { signal }: CallOptions): Promise<RecoveryKit> {
  const { stateDir, repositoryId, label, newId } = wanted
  const kit = RecoveryKit.generate(repositoryId, systemKeySources)
  const recipient = kit.recipient(newId(), label, systemKeySources)
  if (await addAgentRecipient(stateDir, repositoryId, recipient, { signal })) return kit
  const secret = await findLocalSecret(stateDir, repositoryId)
  if (secret?.made !== true) {
    throw new PlatformError('repository.missing', `this agent has no repository ${repositoryId}`)
  }
  await withRepositoryErrors('writing a key file', async () => await writeChainKeys(secret, recipient, wanted))
  return kit
}

/**
 * Keys beside chains of QCOW2 files: a ring of its own for each recipient, all with the same secrets, since an agent that has
 * no key of its own cannot read who else there is. repository/FORMAT.md, "Keys".
 */
async function writeChainKeys(
  secret: RepositorySecret,
  recipient: Recipient,
  { signingKey, clock }: NewRecoveryKit,
): Promise<void> {
  const { dir, repositoryId } = secret
  using ring = chainRing(secret, recipient, { ringNumber: (await newestRing(dir)) + 1, clock })
  const { keyId, publicKey } = signingKey
  const signer = { version: 1 as const, keyId, publicKey, addedAt: clock.now().toISOString() }
  const { randomBytes } = systemKeySources
  await writeFile(dir, signerKey(keyId), encodeSigner(signer, { repositoryId, keys: ring, randomBytes }))
  const keyFile = encodeKeyFile(sealRing(ring, recipient, systemKeySources))
  await writeFile(dir, keyFileKey(ring, recipient.recipientId), keyFile)
}

function chainRing(
  { repositoryId, idKey, layerKey }: RepositorySecret,
  recipient: Recipient,
  { ringNumber, clock }: { readonly ringNumber: number; readonly clock: Clock },
): KeyRing {
  const idKeyBytes = Buffer.from(idKey, 'base64')
  const salt = Buffer.from(repositoryId)
  const createdAt = clock.now().toISOString()
  const epochKey = layerKey ?? deriveKey(idKeyBytes, salt, keyPurposes.chainEpoch).toString('base64')
  const content = {
    version: 1,
    repositoryId,
    ringNumber,
    ringId: Buffer.from(systemKeySources.randomBytes(8)).toString('hex'),
    createdAt,
    idKey,
    macKey: deriveKey(idKeyBytes, salt, keyPurposes.chainMac).toString('base64'),
    epochs: [{ epoch: 1, key: epochKey, createdAt }],
    recipients: [recipient],
  }
  return KeyRing.parse(Buffer.from(JSON.stringify(content)))
}

async function newestRing(dir: string): Promise<number> {
  const names = await readdir(path.join(dir, prefixes.keyFiles), { recursive: true }).catch(() => [])
  const numbers = names.map((name) => parseKeyFileKey(`${prefixes.keyFiles}${name}`)?.ringNumber ?? 0)
  return Math.max(0, ...numbers)
}

async function writeFile(dir: string, key: string, bytes: Uint8Array): Promise<void> {
  const file = path.join(dir, key)
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}`)
  await makeDirectoryDurably(dir, path.dirname(file))
  await writeDurably(file, bytes, temporary)
}
