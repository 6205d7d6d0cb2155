import { createHash, createPrivateKey } from 'node:crypto'
import {
  newChunkStoreDescriptor,
  encodeChunkStoreDescriptor,
} from '@sendense/edge-agent/repository/chunk-store/format/chunk-store-descriptor.ts'
import { encodeCondemnedList } from '@sendense/edge-agent/repository/chunk-store/format/condemned-list.ts'
import { encodeIndexDelta } from '@sendense/edge-agent/repository/chunk-store/format/index-delta.ts'
import { encodeKeyFile } from '@sendense/edge-agent/repository/chunk-store/format/key-file.ts'
import { encodeLease, type Lease } from '@sendense/edge-agent/repository/chunk-store/format/lease.ts'
import * as objectKeys from '@sendense/edge-agent/repository/chunk-store/format/object-keys.ts'
import {
  type ClosedPack,
  packBufferBytes,
  PackBuilder,
} from '@sendense/edge-agent/repository/chunk-store/format/pack-builder.ts'
import { encodePackSet } from '@sendense/edge-agent/repository/chunk-store/format/pack-set.ts'
import {
  encodeQuarantineList,
  type QuarantineList,
} from '@sendense/edge-agent/repository/chunk-store/format/quarantine-list.ts'
import { chunkKinds } from '@sendense/edge-agent/repository/chunk-store/format/registered-ids.ts'
import { encodeSealedManifest } from '@sendense/edge-agent/repository/chunk-store/format/sealed-manifest.ts'
import { fixedRandomness } from '@sendense/edge-agent/repository/chunk-store/format/test-repository.ts'
import { KeyRing } from '@sendense/edge-agent/repository/chunk-store/keys/key-ring.ts'
import { newPassphraseRecipient } from '@sendense/edge-agent/repository/chunk-store/keys/passphrase-recipient.ts'
import { newKeyRecipient, sealRing } from '@sendense/edge-agent/repository/chunk-store/keys/recipients.ts'
import { RecoveryKit } from '@sendense/edge-agent/repository/chunk-store/keys/recovery-kit.ts'
import { privateKeyFromBytes } from '@sendense/edge-agent/repository/chunk-store/keys/x25519-key.ts'
import type { RestorePointManifest } from '@sendense/edge-agent/repository/restore-point-manifest.ts'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'

const TIME = '2026-11-25T10:00:00.000Z'
const idOf = (digit: number): string => `${String(digit).repeat(8)}-0000-4000-8000-000000000000`
export const repositoryId = idOf(1)
export const passphrase = 'correct horse battery staple'
export const agentKey = privateKeyFromBytes(Buffer.alloc(32, 2))
export const kit = new RecoveryKit(repositoryId, Buffer.alloc(32, 3))
const ED25519_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')
export const signingKey = importSigningKey(
  createPrivateKey({ key: Buffer.concat([ED25519_HEAD, Buffer.alloc(32, 4)]), format: 'der', type: 'pkcs8' })
    .export({ type: 'pkcs8', format: 'pem' })
    .toString(),
)

/** What the chunks of the pack are: text that compresses, bytes that do not, and a page of ids. */
export const contents = [
  Buffer.from('a line of a log file that says the same as ever\n'.repeat(200)),
  createHash('sha512').update('noise').digest(),
  Buffer.concat([Buffer.alloc(32), createHash('sha256').update('id').digest()]),
] as const
export const indexPlace = { indexId: idOf(5), generation: 12 }
export const packPlace = { packId: '00112233445566778899aabbccddeeff01234567', generation: 12 }
export const setPlace = { vmId: idOf(6), restorePointId: idOf(7), revision: 0 }
export const condemned = {
  runId: idOf(8),
  condemnedAt: new Date(TIME),
  clocks: { wallMs: Date.parse(TIME) + 1, bootId: idOf(9), upMs: 123_456_789 },
  packs: [packPlace],
}
export const quarantine: QuarantineList = {
  version: 1,
  quarantineId: idOf(9),
  foundAt: TIME,
  packs: [{ ...packPlace, reason: 'read wrong' }],
  chunks: [{ packId: packPlace.packId, ordinal: 1, chunkId: 'c'.repeat(64), reason: 'read wrong' }],
}
export const lease: Lease = {
  version: 1,
  writerId: idOf(3),
  counter: 4,
  role: 'writer',
  agentId: idOf(4),
  generation: 12,
  beganAt: TIME,
}
export const manifest: RestorePointManifest = {
  version: 1,
  restorePointId: setPlace.restorePointId,
  repositoryId,
  tenantId: idOf(2),
  agentId: idOf(4),
  jobId: idOf(2),
  vmId: setPlace.vmId,
  vmName: 'web',
  platform: 'kvm',
  platformRef: 'web',
  definition: { machine: 'q35' },
  memoryBytes: 1024,
  cpuCount: 2,
  takenAt: TIME,
  sealedAt: TIME,
  consistency: 'crash',
  disks: [
    {
      diskId: 'disk0',
      sizeBytes: 65_536,
      chunkSizeBytes: 65_536,
      mode: 'full',
      reason: 'FULL_FIRST',
      readBytes: 65_536,
      writtenBytes: 65_536,
      zeroedBytes: 0,
      storedBytes: 1000,
      pages: ['d'.repeat(64)],
    },
  ],
}

export interface FixedRepository {
  readonly ring: KeyRing
  readonly pack: ClosedPack
  /** Each object under its key. */
  readonly objects: ReadonlyMap<string, Uint8Array>
}

/** The same repository each time, but for what zstd makes of text. */
export async function fixedRepository(): Promise<FixedRepository> {
  const sources = { now: () => new Date(TIME), randomBytes: fixedRandomness(42) }
  const cost = { memoryKib: 8 * 1024, passes: 1, lanes: 1 }
  const people = { label: 'of a test', createdAt: new Date(TIME) }
  const ring = KeyRing.create(
    repositoryId,
    [
      await newPassphraseRecipient({ recipientId: idOf(1), label: 'of a test', passphrase, cost }, sources),
      newKeyRecipient('agent', agentKey, { recipientId: idOf(2), ...people }),
      kit.recipient(idOf(3), 'of a test', sources),
    ],
    sources,
  )
  const context = { repositoryId, keys: ring, randomBytes: sources.randomBytes }
  const pack = fixedPack(ring)
  const { directory } = pack
  const keyFiles = ring.recipients.map((recipient): [string, Uint8Array] => [
    objectKeys.keyFileKey(ring, recipient.recipientId),
    encodeKeyFile(sealRing(ring, recipient, sources)),
  ])
  const descriptor = newChunkStoreDescriptor({ repositoryId, createdAt: new Date(TIME) })
  const index = { ...indexPlace, packs: [{ ...packPlace, epoch: ring.newestEpoch, directory }] }
  const objects = new Map<string, Uint8Array>([
    [objectKeys.DESCRIPTOR_KEY, encodeChunkStoreDescriptor(descriptor)],
    ...keyFiles,
    [objectKeys.packKey(packPlace), pack.bytes],
    [objectKeys.indexDeltaKey(indexPlace), encodeIndexDelta(index, context)],
    [objectKeys.packSetKey(setPlace), encodePackSet({ ...setPlace, packs: [packPlace] }, context)],
    [objectKeys.condemnedListKey(condemned.runId), encodeCondemnedList(condemned, context)],
    [objectKeys.quarantineListKey(quarantine.quarantineId), encodeQuarantineList(quarantine, context)],
    [objectKeys.leaseKey(lease), encodeLease(lease, context)],
    [objectKeys.manifestKey(manifest), encodeSealedManifest(manifest, signingKey, context)],
  ])
  return { ring, pack, objects }
}

function fixedPack(ring: KeyRing): ClosedPack {
  const sizes = { packSizeBytes: 1024 * 1024, chunkSizeBytes: 64 * 1024 }
  const builder = new PackBuilder({
    ...packPlace,
    ...sizes,
    repositoryId,
    epoch: ring.newestEpoch,
    epochKey: ring.epochKey(ring.newestEpoch),
    compression: 'balanced',
    buffer: new Uint8Array(packBufferBytes(sizes.packSizeBytes, sizes.chunkSizeBytes)),
  })
  for (const [index, content] of contents.entries()) {
    const kind = index === 2 ? chunkKinds.chunkIdPage : chunkKinds.data
    builder.append({ id: createHash('sha256').update(content).digest(), kind }, [content])
  }
  return builder.close()
}
