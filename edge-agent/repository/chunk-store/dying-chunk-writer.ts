import { readFileSync } from 'node:fs'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { wrapStore } from '../../object-store/layers/wrap-store.ts'
import { openLocalStore } from '../../object-store/local/local-store.ts'
import { copyInto, newBackupOf, sealFactsOf } from '../repository-scenario.ts'
import { prefixes } from './format/object-keys.ts'
import { createMemoryPackCatalogue } from './index/memory-pack-catalogue.ts'
import { KeyRing } from './keys/key-ring.ts'
import { openChunkRepository } from './open-chunk-repository.ts'

/** What a dying writer is told, as JSON in the file its only argument names. */
const DyingChunkWriterOrder = z.strictObject({
  directory: z.string(),
  ring: z.base64(),
  signingKey: z.string(),
  agentId: z.uuid(),
  vmId: z.uuid(),
  restorePointId: z.uuid(),
  parentRestorePointId: z.uuid(),
  takenAt: z.iso.datetime(),
  /** Raw content of the new point. */
  contentFile: z.string(),
  /** `put-N`: in the middle of putting its N-th pack; `copied`: before sealing; or a step of sealing. */
  dieAt: z.string(),
})
export type DyingChunkWriterOrder = z.infer<typeof DyingChunkWriterOrder>

// A process for tests: backs one disk up by comparison and kills itself where it is told.
const order = DyingChunkWriterOrder.parse(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')))
const signal = AbortSignal.timeout(60_000)
const dieAt = (step: string): void => {
  if (step === order.dieAt) process.kill(process.pid, 'SIGKILL')
}

let packs = 0
const content = readFileSync(order.contentFile)
const store = wrapStore(await openLocalStore({ directory: order.directory, signal }), async (asked, _options, work) => {
  if (asked.operation !== 'put' || !asked.key.startsWith(prefixes.packs)) return await work()
  packs += 1
  const number = packs
  const working = work()
  setImmediate(() => dieAt(`put-${number}`))
  return await working
})
const repository = await openChunkRepository(
  {
    store,
    keys: KeyRing.parse(Buffer.from(order.ring, 'base64')),
    agentId: order.agentId,
    signingKey: importSigningKey(order.signingKey),
    trustedPublicKeys: [],
    catalogue: createMemoryPackCatalogue(),
    settings: { packSizeBytes: 128 * 1024 },
    crashPoint: dieAt,
  },
  { signal },
)
const { vmId, restorePointId, parentRestorePointId } = order
const source = createMemoryDisk({ sizeBytes: content.length, content })
const disk = { diskId: 'disk0', sizeBytes: content.length, mode: 'compare', source } as const
const backup = { vmId, restorePointId, parentRestorePointId, disks: [disk] }
const asked = newBackupOf(backup)
await using writer = await repository.openBackup(asked, { signal })
const copied = await copyInto(repository, writer, backup, { signal })
dieAt('copied')
await writer.seal(sealFactsOf(asked, { takenAt: new Date(order.takenAt), copied }), { signal })
throw new Error(`sealed without dying at ${order.dieAt}`)
