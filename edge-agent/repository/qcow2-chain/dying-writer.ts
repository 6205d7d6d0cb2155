import { readFileSync } from 'node:fs'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { backUpUntilDeath, lastBackupFields } from '../dying-backup.ts'
import { sealSteps } from './chain-context.ts'
import { openQcow2Repository } from './qcow2-repository.ts'

/** What a dying writer is told, as JSON in the file its only argument names. */
const DyingWriterOrder = z.strictObject({
  dir: z.string(),
  repositoryId: z.uuid(),
  runtimeDir: z.string(),
  idKey: z.base64(),
  signingKey: z.string(),
  ...lastBackupFields,
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
await backUpUntilDeath(repository, order, { dieAt, signal })
