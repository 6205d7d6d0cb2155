import { readFileSync } from 'node:fs'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { wrapStore } from '../../object-store/layers/wrap-store.ts'
import { openLocalStore } from '../../object-store/local/local-store.ts'
import { backUpUntilDeath, lastBackupFields } from '../dying-backup.ts'
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
  ...lastBackupFields,
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
await backUpUntilDeath(repository, order, { dieAt, signal })
