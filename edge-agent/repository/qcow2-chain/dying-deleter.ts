import { readFileSync } from 'node:fs'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import { z } from 'zod'
import { deleteSteps } from './chain-context.ts'
import { openQcow2Repository } from './qcow2-repository.ts'

/** What a dying deleter is told, as JSON in the file its only argument names. */
const DyingDeleterOrder = z.strictObject({
  dir: z.string(),
  repositoryId: z.uuid(),
  runtimeDir: z.string(),
  idKey: z.base64(),
  signingKey: z.string(),
  restorePointId: z.uuid(),
  /** `delete` the point, or make its chain shorter. */
  work: z.enum(['delete', 'shorten']),
  chainLayersMax: z.int(),
  dieAt: z.enum(deleteSteps),
  /** How often it comes to that step before it dies. */
  survive: z.int().min(0),
})
export type DyingDeleterOrder = z.infer<typeof DyingDeleterOrder>

// A process for tests: deletes a restore point or shortens a chain, and kills itself at the step it is told.
const order = DyingDeleterOrder.parse(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')))
const signal = AbortSignal.timeout(60_000)
let left = order.survive
const repository = await openQcow2Repository(
  {
    dir: order.dir,
    expectedRepositoryId: order.repositoryId,
    idKey: Buffer.from(order.idKey, 'base64'),
    signingKey: importSigningKey(order.signingKey),
    trustedPublicKeys: [],
    runtimeDir: order.runtimeDir,
    clock: systemClock,
    logger: createLogger('dying-deleter', 'warn'),
    chainLayersMax: order.chainLayersMax,
    crashPoint: (step) => {
      if (step === order.dieAt && left-- === 0) process.kill(process.pid, 'SIGKILL')
    },
  },
  { signal },
)
if (order.work === 'delete') await repository.deleteRestorePoint(order.restorePointId, { signal })
else await repository.chainCare?.shorten(order.restorePointId, { signal })
throw new Error(`came to the end without dying at ${order.dieAt}`)
