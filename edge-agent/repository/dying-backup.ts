import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { copyInto, newBackupOf, sealFactsOf } from './repository-scenario.ts'
import type { Repository } from './repository.ts'

/** What a process that dies while it backs up is told of the backup. */
export const lastBackupFields = {
  vmId: z.uuid(),
  restorePointId: z.uuid(),
  parentRestorePointId: z.uuid(),
  takenAt: z.iso.datetime(),
  /** Raw content of the new point. */
  contentFile: z.string(),
}
const LastBackup = z.object(lastBackupFields)
export type LastBackup = z.infer<typeof LastBackup>

/** For tests: backs one disk up by comparison with the parent. `dieAt` hears `copied` before sealing; the repository tells the rest. */
export async function backUpUntilDeath(
  repository: Repository,
  { vmId, restorePointId, parentRestorePointId, takenAt, contentFile }: LastBackup,
  { dieAt, signal }: CallOptions & { readonly dieAt: (step: string) => void },
): Promise<never> {
  const content = readFileSync(contentFile)
  const source = createMemoryDisk({ sizeBytes: content.length, content })
  const disk = { diskId: 'disk0', sizeBytes: content.length, mode: 'compare', source } as const
  const backup = { vmId, restorePointId, parentRestorePointId, disks: [disk] }
  const asked = newBackupOf(backup)
  await using writer = await repository.openBackup(asked, { signal })
  const copied = await copyInto(repository, writer, backup, { signal })
  dieAt('copied')
  await writer.seal(sealFactsOf(asked, { takenAt: new Date(takenAt), copied }), { signal })
  throw new Error('sealed without dying')
}
