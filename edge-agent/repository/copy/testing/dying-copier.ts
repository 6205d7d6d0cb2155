import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { BlockSink } from '../../../block/block-sink.ts'
import { createMover } from '../../../mover/create-mover.ts'
import type { Repository } from '../../repository.ts'
import { call } from '../../scenario-guest.ts'
import { copyRestorePoint } from '../copy-restore-point.ts'
import { openPlace, RepositoryPlace } from './repository-place.ts'

/** What a dying copier is told, as JSON in the file its only argument names. */
const DyingCopierOrder = z.strictObject({
  source: RepositoryPlace,
  target: RepositoryPlace,
  restorePointId: z.uuid(),
  /** `opened`; `written`: in the middle of the disks; `copied`: before sealing; or a step of the target's sealing. */
  dieAt: z.string(),
})
export type DyingCopierOrder = z.infer<typeof DyingCopierOrder>

// A process for tests: copies one restore point and kills itself where it is told.
const order = DyingCopierOrder.parse(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')))
const dieAt = (step: string): void => {
  if (step === order.dieAt) process.kill(process.pid, 'SIGKILL')
}

await using source = await openPlace(order.source)
await using target = await openPlace(order.target, { onStep: dieAt })
await using mover = createMover({ threadsMax: 1, memoryBytes: 64 * 1024 * 1024 })
await copyRestorePoint(source, watched(target), order.restorePointId, { mover, ...call() })
throw new Error(`copied without dying at ${order.dieAt}`)

/** The target, which tells when a copy is opened, has written something, and is about to be sealed. */
function watched(repository: Repository): Repository {
  return new Proxy(repository, {
    get: (on, name) => {
      if (name === 'openBackup') return openWatched
      const value: unknown = Reflect.get(on, name, on)
      return typeof value === 'function' ? value.bind(on) : value
    },
  })
  async function openWatched(...asked: Parameters<Repository['openBackup']>): ReturnType<Repository['openBackup']> {
    const writer = await repository.openBackup(...asked)
    dieAt('opened')
    const disks = [...writer.disks].map(([id, disk]) => [id, { ...disk, sink: watchedSink(disk.sink) }] as const)
    return {
      disks: new Map(disks),
      seal: async (...facts) => {
        dieAt('copied')
        return await writer.seal(...facts)
      },
      [Symbol.asyncDispose]: async () => await writer[Symbol.asyncDispose](),
    }
  }
}

/** Only through this object, so that all that is written is seen. */
function watchedSink({ sizeBytes, chunks, ...sink }: BlockSink): BlockSink {
  let writes = 0
  const note = (): void => {
    writes += 1
    if (writes === 3) setImmediate(() => dieAt('written'))
  }
  return {
    sizeBytes,
    ...(chunks === undefined
      ? {}
      : {
          chunks: {
            put: (...asked) => {
              note()
              return chunks.put(...asked)
            },
          },
        }),
    write: async (...asked) => {
      note()
      await sink.write(...asked)
    },
    writeZeroes: async (...asked) => await sink.writeZeroes(...asked),
    flush: async (...asked) => await sink.flush(...asked),
    [Symbol.asyncDispose]: async () => await sink[Symbol.asyncDispose](),
  }
}
