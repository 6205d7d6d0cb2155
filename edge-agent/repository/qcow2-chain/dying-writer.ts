import { readFileSync } from 'node:fs'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { copyInto, newBackupOf, sealFactsOf } from '../repository-scenario.ts'
import { sealSteps } from './chain-context.ts'
import { openQcow2Repository } from './qcow2-repository.ts'

/** What a dying writer is told, as JSON in the file its only argument names. */
const DyingWriterOrder = z.strictObject({
  dir: z.string(),
  repositoryId: z.uuid(),
  runtimeDir: z.string(),
  idKey: z.base64(),
  signingKey: z.string(),
  vmId: z.uuid(),
  restorePointId: z.uuid(),
  parentRestorePointId: z.uuid(),
  takenAt: z.iso.datetime(),
  /** Raw content of the new point. */
  contentFile: z.string(),
  /** `copied`: before sealing begins. */
  dieAt: z.enum(['copied', ...sealSteps]),
})
export type DyingWriterOrder = z.infer<typeof DyingWriterOrder>

// A process for tests: backs one disk up by comparison and kills itself at the step it is told.
const order = DyingWriterOrder.parse(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')))
const signal = AbortSignal.timeout(60_000)
const dieAt = (step: string): void => {
  if (step === order.dieAt) process.kill(process.pid, 'SIGKILL')
}

const content = readFileSync(order.contentFile)
const repository = await openQcow2Repository(
  {
    dir: order.dir,
    expectedRepositoryId: order.repositoryId,
    idKey: Buffer.from(order.idKey, 'base64'),
    signingKey: importSigningKey(order.signingKey),
    trustedPublicKeys: [],
    runtimeDir: order.runtimeDir,
    clock: systemClock,
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
