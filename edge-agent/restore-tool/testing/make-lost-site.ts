import { randomUUID } from 'node:crypto'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import { generateSigningKey, type SigningKey } from '@sendense/shared/runtime/signing.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import type { ChunkRepository } from '../../repository/chunk-store/chunk-repository.ts'
import { createChunkRepository } from '../../repository/chunk-store/create-chunk-repository.ts'
import { createMemoryPackCatalogue } from '../../repository/chunk-store/index/memory-pack-catalogue.ts'
import { systemKeySources } from '../../repository/chunk-store/keys/key-ring.ts'
import { newPassphraseRecipient } from '../../repository/chunk-store/keys/passphrase-recipient.ts'
import { recoveryKitSheet } from '../../repository/chunk-store/keys/recovery-kit-print.ts'
import { RecoveryKit } from '../../repository/chunk-store/keys/recovery-kit.ts'
import { openChunkRepository } from '../../repository/chunk-store/open-chunk-repository.ts'
import { backUp } from '../../repository/repository-scenario.ts'

const signal = AbortSignal.timeout(600_000)
export const SITE_CHUNK_BYTES = 64 * 1024
const PACK_BYTES = 256 * 1024
export const SITE_PASSPHRASE = 'all is lost but the storage'

export interface LostPoint {
  readonly restorePointId: string
  readonly disks: ReadonlyMap<string, Uint8Array>
}

/** What is left of a site: a storage with a repository in it, and what was kept on paper. */
export interface LostSite {
  readonly repositoryId: string
  /** As it was printed. */
  readonly kitSheet: string
  readonly kit: RecoveryKit
  readonly signingKey: SigningKey
  readonly vmId: string
  /** Oldest first: a full and an incremental one. */
  readonly points: readonly [LostPoint, LostPoint]
}

/** Backs up a VM of two disks twice, and forgets the agent. @param openStore opens the same, empty store each time */
export async function makeLostSite(openStore: () => Promise<ObjectStore>): Promise<LostSite> {
  const repositoryId = randomUUID()
  const kit = RecoveryKit.generate(repositoryId, systemKeySources)
  const cost = { memoryKib: 8192, passes: 1, lanes: 2 }
  const recipients = [
    kit.recipient(randomUUID(), 'kit', systemKeySources),
    await newPassphraseRecipient(
      { recipientId: randomUUID(), label: 'owner', passphrase: SITE_PASSPHRASE, cost },
      systemKeySources,
    ),
  ]
  await using store = await openStore()
  const shape = { repositoryId, chunkSizeBytes: SITE_CHUNK_BYTES, createdAt: new Date() }
  using keys = await createChunkRepository({ store, ...shape, recipients }, { signal })
  const signingKey = generateSigningKey()
  await using repository = await openChunkRepository(
    {
      store: await openStore(),
      keys,
      agentId: randomUUID(),
      signingKey,
      trustedPublicKeys: [],
      catalogue: createMemoryPackCatalogue(),
      settings: { packSizeBytes: PACK_BYTES },
      measureSpace: async () => ({ capacityBytes: 1e9, freeBytes: 1e9 }),
    },
    { signal },
  )
  const { vmId, points } = await backUpTwice(repository)
  return { repositoryId, kit, kitSheet: recoveryKitSheet(kit, 'test', new Date()), signingKey, vmId, points }
}

async function backUpTwice(repository: ChunkRepository) {
  const vmId = randomUUID()
  const root = createMemoryDisk({ sizeBytes: 3 * 1024 * 1024 + 512, granularityBytes: SITE_CHUNK_BYTES })
  const data = createMemoryDisk({ sizeBytes: 640 * 1024, granularityBytes: SITE_CHUNK_BYTES })
  await root.write(0, seededBytes(1)(1024 * 1024), { signal })
  await root.write(2 * 1024 * 1024, Buffer.alloc(300_000, 'lines of a log that repeat themselves\n'), { signal })
  await root.write(3 * 1024 * 1024, seededBytes(2)(512), { signal })
  await data.write(128 * 1024, seededBytes(3)(256 * 1024), { signal })
  const trackers = [root.addTracker(), data.addTracker()] as const
  const full = async () => ({
    vmId,
    takenAt: new Date('2026-11-24T08:00:00.000Z'),
    disks: [
      { diskId: 'vda', sizeBytes: root.sizeBytes, mode: 'full' as const, source: root.freeze() },
      { diskId: 'vdb', sizeBytes: data.sizeBytes, mode: 'full' as const, source: data.freeze() },
    ],
  })
  const first = await backUp(repository, await full(), { signal })
  const before = new Map([
    ['vda', Uint8Array.from(root.bytes)],
    ['vdb', Uint8Array.from(data.bytes)],
  ])
  await root.write(64 * 1024, seededBytes(4)(128 * 1024), { signal })
  await data.writeZeroes(128 * 1024, 128 * 1024, { signal })
  const parentRestorePointId = first.manifest.restorePointId
  const second = await backUp(
    repository,
    {
      vmId,
      parentRestorePointId,
      takenAt: new Date('2026-11-25T08:00:00.000Z'),
      disks: [
        { diskId: 'vda', sizeBytes: root.sizeBytes, mode: 'incremental', source: root.freeze(trackers[0]) },
        { diskId: 'vdb', sizeBytes: data.sizeBytes, mode: 'incremental', source: data.freeze(trackers[1]) },
      ],
    },
    { signal },
  )
  const after = new Map([
    ['vda', Uint8Array.from(root.bytes)],
    ['vdb', Uint8Array.from(data.bytes)],
  ])
  const points: [LostPoint, LostPoint] = [
    { restorePointId: first.manifest.restorePointId, disks: before },
    { restorePointId: second.manifest.restorePointId, disks: after },
  ]
  return { vmId, points }
}
